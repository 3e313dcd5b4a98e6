"""Names of languages as people write them above a column: codes of two and three letters, and in
words.

>>> same_language("pt-BR", "Português"), same_language("fr", "German")
(True, False)
"""

from __future__ import annotations

import re

from toolkit.reading import composed

__all__ = ["is_language", "language_code", "same_language", "words_of"]

TABLE = """
    af afr Afrikaans | am amh Amharic አማርኛ | ar ara arb Arabic العربية | ast Asturian | az aze Azerbaijani
    be bel Belarusian беларуская | bg bul Bulgarian български | bn ben Bengali Bangla বাংলা | bo bod tib Tibetan
    br bre Breton | bs bos Bosnian bosanski | ca cat Catalan català | ceb Cebuano | cs ces cze Czech čeština český
    cy cym wel Welsh Cymraeg | da dan Danish dansk
    de deu ger German Deutsch allemand alemán tedesco alemão Duits немецкий 德语 ドイツ語
    el ell gre Greek Ελληνικά | en eng English anglais Englisch inglés inglese inglês Engels английский 英语 英語
    eo epo Esperanto
    es spa Spanish español Castilian castellano espagnol Spanisch spagnolo espanhol испанский 西班牙语 スペイン語
    et est Estonian eesti | eu eus baq Basque euskara | fa fas per Persian Farsi فارسی | fi fin Finnish suomi
    fo fao Faroese
    fr fra fre French français francais Französisch francés francese francês Frans французский 法语 フランス語
    fy fry Frisian | ga gle Irish Gaeilge | gd gla Gaelic | gl glg Galician galego | gu guj Gujarati | ha hau Hausa
    he heb iw Hebrew עברית | hi hin Hindi हिन्दी हिंदी | hr hrv Croatian hrvatski | ht hat Haitian
    hu hun Hungarian magyar | hy hye arm Armenian | id ind Indonesian | ig ibo Igbo | ilo Ilocano
    is isl ice Icelandic íslenska | it ita Italian italiano | ja jpn Japanese 日本語 | jv jav Javanese
    ka kat geo Georgian ქართული | kab Kabyle | kk kaz Kazakh | km khm Khmer ខ្មែរ | kn kan Kannada
    ko kor Korean 한국어 | ku kur Kurdish | ky kir Kyrgyz | la lat Latin | lb ltz Luxembourgish | ln lin Lingala
    lo lao Lao ລາວ | lt lit Lithuanian lietuvių | lv lav Latvian latviešu | mg mlg Malagasy
    mi mri mao Maori Māori | mk mkd mac Macedonian македонски | ml mal Malayalam | mn mon Mongolian
    mr mar Marathi | ms msa may zsm Malay Melayu | mt mlt Maltese | my mya bur Burmese | ne nep Nepali
    nl nld dut Dutch Nederlands Flemish | no nor nb nob nn nno Norwegian norsk bokmål nynorsk | oc oci Occitan
    pa pan Punjabi | pl pol Polish polski | ps pus Pashto | pt por Portuguese português portugues | qu que Quechua
    rn run Rundi | ro ron rum Romanian română | ru rus Russian русский | rw kin Kinyarwanda | sd snd Sindhi
    si sin Sinhala | sk slk slo Slovak slovenčina | sl slv Slovenian Slovene slovenščina | so som Somali
    sq sqi alb Albanian shqip | sr srp Serbian српски srpski | su sun Sundanese | sv swe Swedish svenska
    sw swa swh Swahili Kiswahili | ta tam Tamil தமிழ் | te tel Telugu | tg tgk Tajik | th tha Thai ไทย
    tk tuk Turkmen | tl tgl fil Tagalog Filipino | tr tur Turkish Türkçe | tt tat Tatar | ug uig Uyghur
    uk ukr Ukrainian українська | ur urd Urdu اردو | uz uzb Uzbek | vi vie Vietnamese | wo wol Wolof | xh xho Xhosa
    yi yid Yiddish | yo yor Yoruba | yue Cantonese 粵語 粤语 | zh zho chi cmn Chinese Mandarin 中文 汉语 漢語
    zu zul Zulu
"""
CODES = {name.casefold(): group.split()[0] for group in TABLE.replace("\n", "|").split("|") for name in group.split()}


def words_of(name: str) -> list[str]:
    """The words of a name without regard to case: ``text_en`` is ``text`` and ``en``."""
    return [word for word in re.split(r"[\s_\-()\[\]:/.,\"']+", composed(name).casefold()) if word]


def is_language(name: str) -> bool:
    """Whether it is the name of a language, or a code such as ``en`` or ``pt-BR``."""
    return language_code(name) in CODES.values()


def same_language(one: str, other: str) -> bool:
    """Whether both are names of one language. An unknown name equals only itself."""
    return language_code(one) == language_code(other)


def language_code(name: str) -> str:
    """The first code of a language; of other words, the name itself.

    >>> language_code("French"), language_code("fr-CA"), language_code("Klingon")
    ('fr', 'fr', 'klingon')
    """
    name = composed(name).strip(" \t\"'").casefold()
    first = re.split("[-_]", name)[0]  # of pt-BR and zh_Hans
    return CODES.get(name) or CODES.get(first if len(first) in (2, 3) else name, name)
