"""The estimate of tokens against CLIP's own vocabulary, on texts that it was not fitted to."""

import pytest

from workbench.data.tokens import estimate_tokens
from workbench.models.clip import clip_tokenizer

TEXTS = (
    "a woman in a café holds a cup of coffee, soft window light, film photo",
    "portrait, freckles, green_eyes, braided_hair, (soft light:1.1), f/2.8",
    "Ein kleines Mädchen mit rotem Hut steht im Garten und lächelt, im Hintergrund blühen Bäume",
    "una niña pequeña con un sombrero rojo sonríe en el jardín",
    "une petite fille au chapeau rouge sourit à la caméra dans un jardin fleuri, lumière douce",
    "mała dziewczynka w czerwonym kapeluszu stoi w ogrodzie i uśmiecha się",
    "una bambina con un cappello rosso sorride nel giardino",
    "девочка в красной шляпе стоит в саду и улыбается, мягкий свет",
    "ένα κορίτσι με κόκκινο καπέλο στέκεται στον κήπο",
    "فتاة صغيرة ترتدي قبعة حمراء تقف في الحديقة",
    "ילדה קטנה עם כובע אדום עומדת בגינה",
    "लाल टोपी पहने एक छोटी लड़की बगीचे में खड़ी है",
    "เด็กหญิงตัวเล็กสวมหมวกสีแดงยืนอยู่ในสวน",
    "一个戴着红帽子的小女孩站在花园里微笑",
    "赤い帽子をかぶった小さな女の子が庭で笑っている",
    "빨간 모자를 쓴 작은 소녀가 정원에 서 있다",
    "một cô bé đội mũ đỏ đang đứng cười trong vườn",
)


@pytest.mark.parametrize("text", TEXTS)
def test_it_is_within_a_quarter_of_the_true_number(text: str) -> None:
    true = len(clip_tokenizer()(text, add_special_tokens=False)["input_ids"])
    assert estimate_tokens(text) == pytest.approx(true, rel=0.25)


def test_nothing_costs_nothing() -> None:
    assert estimate_tokens("") == estimate_tokens("  \n") == 0
