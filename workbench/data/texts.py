"""Captions from bytes: by their mark, else UTF-8, and never by a guess that nobody notices."""

__all__ = ["decode_caption", "legacy_codec", "may_be_legacy"]

# Encodings of two-byte letters that a short text can share with UTF-8 by chance.
_LEGACY = ("gb18030", "big5", "cp932", "euc_kr")


def decode_caption(data: bytes) -> str:
    """Decode a caption file by its byte order mark, else as UTF-8.

    Args:
        data: content of the file.
    Returns:
        The text, without surrounding white space.
    Raises:
        ValueError: neither UTF-8 nor UTF-16 with a mark; guessing would put wrong letters into
            every caption without anyone noticing.
    """
    marked_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if marked_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("is neither UTF-8 nor UTF-16 with a byte order mark; save it as UTF-8")
    return text.strip()


def may_be_legacy(data: bytes) -> bool:
    """Say whether a text that is valid UTF-8 may be so by chance alone.

    Args:
        data: content of a caption file that was decoded.
    Returns:
        True where all its letters beyond ASCII have two bytes, as those of older encodings do.
    """
    if data.isascii() or data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return False
    return all(ord(letter) < 0x800 for letter in data.decode("utf-8"))


def legacy_codec(texts: list[bytes]) -> str | None:
    """Find the older encoding that makes East Asian letters of all texts.

    Args:
        texts: contents of caption files, at least one.
    Returns:
        Python's name of the encoding; None where no such one fits them all.
    """
    return next((codec for codec in _LEGACY if all(_is_east_asian(x, codec) for x in texts)), None)


def _is_east_asian(data: bytes, codec: str) -> bool:
    try:
        text = data.decode(codec)
    except UnicodeDecodeError:
        return False
    beyond = [letter for letter in text if not letter.isascii()]
    return bool(beyond) and all(0x2E80 <= ord(x) <= 0xFFEF or x in "、。·—…“”‘’" for x in beyond)
