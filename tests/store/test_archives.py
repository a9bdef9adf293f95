"""Zip files that climb out, link, inflate or are damaged are refused before anything is read."""

import os
import struct
import time
import zipfile

import pytest

from workbench import store


def pack(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_sound_archive(tmp_path):
    members = [("a/", b""), ("a/b.txt", b"fox"), ("é\n'.txt", b"cat"), ("Scene 1: x.txt", b"")]
    path = pack(tmp_path / "a.zip", members)
    archive = store.Archive(path)
    assert archive.names == ("a/b.txt", "é\n'.txt", "Scene 1: x.txt")
    assert archive.read("a/b.txt") == b"fox"
    assert archive.size("a/b.txt") == 3
    with pytest.raises(store.FileRefused, match="no member 'c'"):
        archive.read("c")
    archive.close()


@pytest.mark.parametrize(
    "name", ["../../x", "/abs", "a/../../x", "..", "C:\\x", "c:x", "..\\x", "\\x", "a\\..\\x"]
)
def test_member_outside_is_refused(tmp_path, name):
    path = pack(tmp_path / "a.zip", [("good.txt", b"x"), (zipfile.ZipInfo(name), b"x")])
    with pytest.raises(store.FileRefused, match="points outside the archive; nothing was read"):
        store.Archive(path)


def test_symlink_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(store.FileRefused, match="member 'link' is a symbolic link"):
        store.Archive(pack(tmp_path / "a.zip", [(link, b"/etc/passwd")]))


def test_200_mb_in_194_kb_is_refused_from_its_declaration(tmp_path):
    path = pack(tmp_path / "a.zip", [("bomb", bytes(200_000_000))])
    assert path.stat().st_size < 200_000
    before = time.process_time()
    with pytest.raises(store.FileRefused, match=r"'bomb' inflates .* to 200,000,000 bytes"):
        store.Archive(path)
    assert time.process_time() - before < 0.1  # inflating alone takes longer


def test_inflation_is_measured_over_all_members(tmp_path):
    members = [(f"{i}", bytes(1_000_000)) for i in range(20)]  # each below the limit
    with pytest.raises(store.FileRefused, match="to 20,000,000 bytes, more than 100 times"):
        store.Archive(pack(tmp_path / "a.zip", members))


def test_small_file_that_packs_well_is_welcome(tmp_path):
    path = pack(tmp_path / "a.zip", [("white.bmp", bytes(900_000))])
    assert store.Archive(path).names == ("white.bmp",)


def test_100_000_entries_are_refused_by_count(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"")
    content = (tmp_path / "a.zip").read_bytes()
    start = content.index(b"PK\1\2")
    entry = content[start : content.index(b"PK\5\6")]
    count = 100_000
    end64 = struct.pack(
        "<4sQ2H2L4Q",
        *(b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(entry) * count, start),
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + len(entry) * count, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    (tmp_path / "a.zip").write_bytes(content[:start] + entry * count + end64 + locator + end)
    with pytest.raises(store.FileRefused, match="100,000 entries are more than 50,000; split it"):
        store.Archive(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_same_name_twice_is_refused(tmp_path):
    with pytest.raises(store.FileRefused, match="'a' is there twice"):
        store.Archive(pack(tmp_path / "a.zip", [("a", b"1"), ("a", b"2")]))


def patched(path, offset_of, change):
    """The archive with some bytes of each header changed."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", offset_of[0]), (b"PK\1\2", offset_of[1])):
        start = content.index(signature) + offset
        content[start : start + len(change)] = change
    path.write_bytes(content)
    return path


def test_encrypted_member_is_named(tmp_path):
    path = patched(pack(tmp_path / "a.zip", [("secret", b"fox")]), (6, 8), b"\1\0")
    with pytest.raises(store.FileRefused, match="member 'secret' is encrypted; unpack it yourself"):
        store.Archive(path)


def test_unknown_compression_names_the_member(tmp_path):
    path = patched(pack(tmp_path / "a.zip", [("odd", b"fox")]), (8, 10), struct.pack("<H", 99))
    with pytest.raises(store.FileRefused, match="member 'odd' cannot be read"):
        store.Archive(path).read("odd")


def test_every_flipped_byte_of_the_content_names_the_member(tmp_path):
    path = pack(tmp_path / "a.zip", [("pic", b"a red fox " * 3)], zipfile.ZIP_STORED)
    content = path.read_bytes()
    for place in range(33, content.index(b"PK\1\2")):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(store.FileRefused, match="member 'pic' cannot be read"):
            store.Archive(path).read("pic")


def test_broken_deflate_stream_names_the_member(tmp_path):
    path = pack(tmp_path / "a.zip", [("pic", b"a red fox " * 3)])
    content = path.read_bytes()
    path.write_bytes(content[:33] + b"\xff\xff" + content[35:])
    with pytest.raises(store.FileRefused, match="member 'pic' cannot be read"):
        store.Archive(path).read("pic")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4" + bytes(99)], ids=ascii)
def test_what_is_no_zip(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(store.FileRefused, match=r"a\.zip: not a readable zip file"):
        store.Archive(tmp_path / "a.zip")
    with pytest.raises(store.FileRefused, match="no such file"):
        store.Archive(tmp_path / "gone.zip")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_reader_has_a_file_position_of_its_own(tmp_path):
    archive = store.Archive(pack(tmp_path / "a.zip", [("a", b"fox"), ("b", b"cat")]))
    parents = archive._zip
    child = os.fork()
    if child == 0:
        os._exit(0 if archive.read("b") == b"cat" and archive._zip is not parents else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert archive.read("a") == b"fox"
