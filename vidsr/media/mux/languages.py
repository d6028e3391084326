"""Names of languages in containers that hold three letters (ISO 639-2) where others also hold two, or a region."""

from __future__ import annotations

import re

from vidsr.media.containers import KEEPS_IT, Container

_LETTERS = re.compile("[a-z]{3}")
_TABLE = """
    aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul bibis bmbam bnben
    bobod brbre bsbos cacat ceche chcha cocos crcre csces cuchu cvchv cycym dadan dedeu dvdiv dzdzo eeewe elell
    eneng eoepo esspa etest eueus fafas ffful fifin fjfij fofao frfra fyfry gagle gdgla glglg gngrn guguj gvglv
    hahau heheb hihin hohmo hrhrv hthat huhun hyhye hzher iaina idind ieile igibo iiiii ikipk inind ioido isisl
    itita iuiku iwheb jajpn jiyid jvjav kakat kgkon kikik kjkua kkkaz klkal kmkhm knkan kokor krkau kskas kukur
    kvkom kwcor kykir lalat lbltz lglug lilim lnlin lolao ltlit lulub lvlav mgmlg mhmah mimri mkmkd mlmal mnmon
    mrmar msmsa mtmlt mymya nanau nbnob ndnde nenep ngndo nlnld nnnno nonor nrnbl nvnav nynya ococi ojoji omorm
    orori ososs papan pipli plpol pspus ptpor quque rmroh rnrun roron rurus rwkin sasan scsrd sdsnd sesme sgsag
    sisin skslk slslv smsmo snsna sosom sqsqi srsrp ssssw stsot susun svswe swswa tatam tetel tgtgk ththa titir
    tktuk tltgl tntsn toton trtur tstso tttat twtwi tytah uguig ukukr ururd uzuzb veven vivie vovol wawln wowol
    xhxho yiyid yoyor zazha zhzho zuzul
"""  # ISO 639-1 and, for terminology, 639-2; iw, in and ji are old names of he, id and yi
_OF_TWO = {pair[:2]: pair[2:] for pair in _TABLE.split()}


def held(language: str | None, kind: str, container: Container) -> str | None:
    """What `container` holds of a stream's `language`, such as "eng" for "en" or "en-US"; None: nothing.

    Where it holds several, there are commas between them.
    """
    if language is None or container.languages == "any":
        return language
    if container.languages == "several" and kind not in ("audio", "subtitle"):
        return None
    found = [name for part in language.split(",") if (name := _three(part))]
    return ",".join(found if container.languages == "several" else found[:1]) or None


def loss(language: str | None, kind: str, container: Container) -> str | None:
    """Why `container` does not hold `language`; None where it does, or says the same in three letters."""
    found = held(language, kind, container)
    if not language or language in (found, "und") or (found == ",".join(map(_short, language.split(",")))):
        return None
    return only(language, kind, container)


def only(language: str, kind: str, container: Container) -> str:
    """That `container` does not hold all of a `language`."""
    found = held(language, kind, container)
    return f"{container} holds {f'only {found}' if found else 'nothing'} of it; {KEEPS_IT}"


def says_more(exact: str, language: str) -> bool:
    """Whether a name by RFC 5646, such as "pt-BR", says more than `language`, the three letters beside it."""
    return "-" in exact or (len(exact) == len("por") and exact not in (language, "und"))


def _three(language: str) -> str | None:
    first = re.split("[-_]", language.lower())[0]
    return _OF_TWO.get(first) or (first if _LETTERS.fullmatch(first) else None)


def _short(language: str) -> str:
    return _OF_TWO.get(language.lower(), language.lower())
