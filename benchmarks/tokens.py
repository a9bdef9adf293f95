"""How far the estimate of a caption's tokens is off: `python benchmarks/tokens.py`.

Counted with CLIP's own vocabulary, which SD 1, SD 2 (OpenCLIP's is the same) and SDXL share. The
texts are a caption's kinds: sentences of this project's own pages, tags of image boards, tags with
weights and file-like words, and the first article of the Declaration of Human Rights by language.
"""

import re
import statistics
from pathlib import Path

from workbench.data.tokens import estimate_tokens
from workbench.models.clip import clip_tokenizer

PAGES = Path(__file__).parents[1]
TAGS = """1girl, solo, long_hair, looking_at_viewer, smile, blue_eyes, blonde_hair, twintails
1boy, male_focus, short_hair, black_hair, school_uniform, serafuku, outdoors, cherry_blossoms
hatsune_miku, vocaloid, aqua_hair, detached_sleeves, thighhighs, zettai_ryouiki, microphone
masterpiece, best quality, absurdres, highres, ultra-detailed, depth of field, bokeh
no humans, scenery, mountain, lake, sunset, clouds, reflection, pine tree, starry sky
multiple girls, 2girls, hug, :d, >_<, ^_^, open_mouth, blush, closed_eyes, heart
artoria_pendragon_(fate), saber_(fate), armor, gauntlets, excalibur_(fate/stay_night), ahoge
photo (medium), film grain, 35mm, kodak portra 400, f/1.8, golden hour, candid
cat, tabby, whiskers, windowsill, houseplant, curtains, sunlight, no_text, english_text
cyberpunk, neon_lights, rain, umbrella, reflection, wet_street, night, skyscraper, crowd"""
SIGNS = """(masterpiece:1.2), (best quality:1.4), [blurry], {detailed}, <lora:mochi_v2:0.8>
score_9, score_8_up, score_7_up, source_anime, rating_safe, 1girl, solo
IMG_20240713_142233, DSC01234, v1.5, 512x768, 4k, 8k, 3d, 2d, no.7
a photo of sks dog, ohwx man, zkz style, mochi_critter, ch4r4ct3r
emoji 😀 and 🎉🎉, arrows → ←, stars ★★☆, “quotes”, dash — end…"""
ARTICLES = {
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit "
    "Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont "
    "doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de "
    "fraternité.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados "
    "como están de razón y conciencia, deben comportarse fraternalmente los unos con los otros.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są "
    "oni obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "Turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana "
    "sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Mọi "
    "con người đều được tạo hoá ban cho lý trí và lương tâm.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены "
    "разумом и совестью и должны поступать в отношении друг друга в духе братства.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Arabic": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق وقد وهبوا عقلاً وضميراً",
    "Hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。"
    "他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、"
    "かつ、尊厳と権利とについて平等である。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}


def prose() -> list[str]:
    """Sentences of the project's own pages, 8 to 60 words each."""
    text = "\n".join(path.read_text("utf-8") for path in sorted(PAGES.glob("docs/*.md")))
    text = re.sub(r"```.*?```", " ", text, flags=re.DOTALL)
    plain = re.sub(r"^\|.*$|`[^`\n]*`|[*#\[\]]|\(http[^)]*\)", " ", text, flags=re.MULTILINE)
    found = re.split(r"(?<=[.!?])\s+", " ".join(plain.split()))
    return [one for one in found if 8 <= len(one.split()) <= 60]


def kinds() -> dict[str, list[str]]:
    """Texts by kind."""
    return {
        "English sentences": prose(),
        "tags": TAGS.splitlines(),
        "weights, numbers, signs": SIGNS.splitlines(),
        **{name: [text] for name, text in ARTICLES.items()},
    }


def measure(texts: list[str]) -> list[float]:
    """Estimate over true count, less 1, of each text."""
    tokenizer = clip_tokenizer()
    true = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return [estimate_tokens(text) / count - 1 for text, count in zip(texts, true, strict=True)]


def main() -> None:
    """Print the table."""
    print(
        "| kind | texts | off on average | half of them within | at worst |\n|---|--:|--:|--:|--:|"
    )
    for kind, texts in kinds().items():
        off = measure(texts)
        worst = max(off, key=abs)
        half = statistics.median(map(abs, off))
        print(f"| {kind} | {len(off)} | {statistics.mean(off):+.0%} | {half:.0%} | {worst:+.0%} |")


if __name__ == "__main__":
    main()
