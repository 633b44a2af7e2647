"""Answers that are none: "not in the text", "I can't help with that", "no se menciona".

They speak of the text, of what it says, or of who should answer. That is all that is looked for,
and only in an answer's first clause: "it cannot be repaired" and "it was not found until 1912" are
answers, and so is "none", where it stands in the passage. What slips through here meets the checks
that compare answers; what is dropped here is lost.
"""

from __future__ import annotations

import re

from karat.curation.answer_words import words

_TEXT = r"(?:text|passage|paragraph|excerpt|article|document|context|section|source|information)s?"
_IN_TEXT = (
    rf"(?:in|by|from|within|on|using)\s(?:(?:the|this|that|your|any)\s)?(?:\w+\s){{0,2}}?{_TEXT}"
    r"(?:\s(?:above|below|given|provided|itself|alone))?"
)
_HOW = r"(?:(?:explicitly|directly|specifically|clearly|actually|really|even|anywhere)\s)?"
_SAY = (
    r"(?:say|state|mention|specify|provide|contain|answer|tell|give|include|indicate|explain"
    r"|describe|discuss|address|name|identify|offer|reveal|disclose|have|list|define|clarify"
    r"|report|note|refer|cover)"
)
_SAID = (
    r"(?:mentioned|stated|specified|disclosed|indicated|addressed|discussed|described|explained"
    r"|provided|given|answered|said|included|found|available|clear|known|listed|identified|named"
    r"|covered|contained|present|revealed|reported|defined)"
)
_NEWS = r"(?:information|info|mention|answer|indication)"
_FACTS = r"(?:data|details?|context|reference|statement)"
_WHICH = r"(?:the answer|this|that|who|what|when|where|why|how|which|if|whether|from|based)"
_END = r"\W*$"
# Anchored at the beginning of the first clause, which has "not" for "n't" and "can not".
_ENGLISH = re.compile(
    # the text
    rf"(?:the|this|that)\s(?:\w+\s){{0,2}}?{_TEXT}(?:\s(?:above|given|provided|itself))?\s(?:(?:"
    rf"does|do|did)\snot\s{_HOW}{_SAY}\b|never\s{_SAY}s?\b|(?:says|mentions)\snothing|(?:is|are)\s"
    rf"(?:silent|not\ssufficient|insufficient)|(?:has|gives|makes|contains|provides|offers)\sno\s)"
    rf"|it\sdoes\snot\s{_HOW}(?:say|state|mention|specify|indicate)\b"
    rf"|it\sdoes\snot\s(?:contain|provide|give|include|have|offer)\s(?:\w+\s)?{_NEWS}"
    # what it says
    rf"|(?:.{{0,120}}?\s)?not\s{_HOW}(?:mentioned|stated|specified|disclosed){_END}"
    rf"|(?:.{{0,120}}?\s)?not\s{_HOW}(?:{_SAID}\s)?(?:\w+\s)?(?:{_IN_TEXT}|here){_END}"
    rf"|(?:(?:it|this|that|the\s(?:answer|information))(?:\sis|'s)\s)?not\s{_HOW}{_SAID}{_END}"
    rf"|(?:.{{0,120}}?\s)?(?:unspecified|undisclosed|unstated|unanswerable){_END}"
    rf"|(?:it\sis\s|that\sis\s)?(?:unknown|unclear|undetermined)(?:\s{_IN_TEXT})?{_END}"
    rf"|(?:there\s(?:is|are)\s)?(?:no|not\s(?:enough|any)|insufficient)\s(?:\w+\s)?{_NEWS}(?:{_END}"
    r"|\s(?:on|about|regarding|concerning|of|in|for|given|provided|available|to|that|as|is|was)\b)"
    rf"|there\s(?:is|are)\s(?:no|not\senough)\s(?:\w+\s)?{_FACTS}\b"
    rf"|(?:no|insufficient|not\senough)\s{_FACTS}(?:\s(?:given|provided|available|{_IN_TEXT}))?"
    rf"{_END}|nothing\s(?:is\s)?(?:said|mentioned|stated)\b"
    rf"|none\s(?:(?:is|are)\s)?(?:mentioned|stated|specified|given|provided|listed|{_IN_TEXT}){_END}"
    # who should answer
    r"|(?:i|we)\s(?:can\snot|could\snot|will\snot|am\sunable\sto|am\snot\sable\sto)\s(?:\w+ly\s)?"
    r"(?:answer|say|tell|find|determine|provide|help|assist|give|know|see|identify|locate|access"
    r"|fulfil+|comply|do\s(?:that|this|so)|be\s(?:sure|certain)|infer|respond|confirm)\b"
    rf"|i\sdo\snot\sknow(?:{_END}|\s{_WHICH}\b)|i\s(?:have\sno|am\snot\s(?:sure|certain))\b"
    rf"|i\sdo\snot\s(?:have|see|find)\s(?:\w+\s){{0,3}}(?:{_NEWS}|{_FACTS}|access|enough)\b"
    r"|(?:(?:it|this|that|the\s(?:answer|question))\s)?can\snot\sbe\s(?:answered|determined"
    r"|inferred|ascertained|deduced)\b|(?:can\snot|unable\sto|impossible\sto|it\sis\s(?:not\s"
    r"possible|impossible)\sto)\s(?:answer|say|tell|determine|know|find|provide|help|assist)\b"
    rf"|(?:n/?a|not\sapplicable|no\sidea|no\sanswer|not\sknown){_END}",
    re.IGNORECASE,
)
_SORRY = re.compile(
    r"(?:(?:(?:i'm|i\sam|we\sare)\s)?(?:very\s|so\s|really\s)?sorry|(?:my\s)?apologies"
    r"|unfortunately|regrettably|i\sapologi[sz]e)\b(?:\sfor\sthe\s\w+)?[\s,.:;!-]*(?:but\b\s*)?"
    r"|as\san?\s(?:ai|artificial|large|language)\b[^,.]{0,40}?(?:,\s*|\s(?=i\b))"
    rf"|(?:according\sto|based\son)\s(?:the|this)\s(?:\w+\s){{0,2}}?{_TEXT}\W+",
    re.IGNORECASE,
)
_NO = re.compile(r"\b(?:not|no|unable|nothing)\b", re.IGNORECASE)
# Anywhere in the first clause; each names the text, what it says, or who should answer.
_OTHERS = re.compile(
    "|".join(
        (
            # German, Dutch
            r"nicht (?:im|in dem|in diesem) (?:\w+ )?(?:text|abschnitt|absatz|dokument|artikel)\b",
            r"\bnicht (?:erwähnt|angegeben|genannt)\W*$",
            r"\b(?:text|abschnitt|absatz|artikel) (?:sagt|nennt|erwähnt|enthält|gibt|liefert"
            r"|macht)\b.*\b(?:nicht|keine)\b",
            r"\bkeine? (?:angaben?|informationen|antwort)\W*(?:$|(?:dazu|darüber|im|zu|über"
            r"|vorhanden|enthalten)\b)",
            r"^ich (?:weiß|weiss) (?:es )?nicht\W*$",
            r"^(?:das )?(?:weiß|weiss) ich nicht\W*$",
            r"\bich kann .*nicht (?:beantworten|sagen|helfen)",
            r"^unbekannt\W*$",
            r"^tut mir leid\b",
            r"niet in de tekst\b",
            r"\bniet (?:vermeld|genoemd|aangegeven)\W*$",
            r"\bde tekst \w+ .*\b(?:niet|geen)\b",
            r"\bgeen informatie\b",
            r"^(?:ik )?weet (?:ik )?het niet\W*$",
            # French, Italian
            r"\b(?:pas|non) (?:mentionn|précis|indiqu|spécifi)ée?s?\W*(?:$|(?:dans|par)\b)",
            r"\bpas dans (?:le|ce) (?:texte|passage|document)",
            r"\b(?:texte|passage|document) ne (?:l[ea] |l['’])?(?:dit|mentionne|précise|indique"
            r"|donne|contient)\b",
            r"\baucune (?:information|mention|réponse)\b",
            r"^je ne (?:sais|peux) pas\b",
            r"^(?:je suis )?désolée?\b",
            r"\bnon (?:è |viene |sono )?(?:menzionat|specificat|indicat|riportat)[oaie]\W*(?:$"
            r"|nel\b)",
            r"\bnon (?:è |è presente )?nel testo\b",
            r"\btesto non (?:lo )?(?:dice|menziona|specifica|indica|fornisce)\b",
            r"\bnessuna informazione\b",
            r"^non lo so\W*$",
            r"^mi dispiace\b",
            # Spanish, Portuguese
            r"\bno se (?:menciona|indica|especifica|dice|proporciona|precisa)n?\W*(?:$|en\b)",
            r"\bno (?:está |aparece |figura |se encuentra )?en el (?:texto|pasaje|documento)\b",
            r"\b(?:texto|pasaje|documento) n(?:o|ão) (?:lo |o )?(?:dice|menciona|indica"
            r"|especifica|proporciona|contiene|diz|informa|fornece)\b",
            r"\b(?:no hay|sin)(?: suficiente)? información\b",
            r"^no (?:lo )?sé\W*$",
            r"^no puedo (?:responder|ayudar|contestar)",
            r"^lo siento\b",
            r"\bnão (?:é |está |foi |se )?(?:menciona|especifica|informa|indica"
            r"|cita)(?:d[oa]s?)?\W*(?:$|no\b)",
            r"\bnão (?:consta|está|aparece)? ?no texto\b",
            r"\bnão há informaç",
            r"^(?:eu )?não sei\W*$",
            r"^desculpe\b",
            # Polish, Russian
            r"\bnie (?:podano|wspomniano|określono)\b",
            r"\bnie ma (?:\w+ )?w tekście",
            r"\btekst nie \w+",
            r"\bbrak informacji",
            r"^nie wiem\W*$",
            r"\bне (?:указан|упомянут|упомина|сказано|говорится)\w*\W*(?:$|в тексте)",
            r"\bв тексте (?:\w+ ){0,2}(?:нет|не)\b",
            r"\bнет (?:информации|ответа|данных)\b",
            r"^(?:я )?не знаю\W*$",
            r"\bне могу (?:ответить|помочь)",
            r"^(?:неизвестно|извините)\b",
            # Japanese, Chinese, Korean
            r"(?:本文|文章|文中|テキスト|記事|資料)(?:の?中)?(?:に|で|から|は).{0,24}(?:ありません|ません|ない|なし)",
            r"(?:記載|言及|情報|記述)(?:は|が|も)?(?:ありません|されていません|されていない|ない|なし)",
            r"^(?:わかり|分かり)ません",
            r"(?:お答え|回答)できません",
            r"^不明\W*$",
            r"^申し訳",
            r"(?:文中|文章|文本|原文|本文|段落|短文|材料)[中里裡]?.{0,8}(?:没有|沒有|未|不)(?:有|曾)?(?:提|说|說|给|給|涉及|回答|包含"
            r"|指出|明)",
            r"^(?:并|並)?(?:没有|沒有|未)(?:提到|提及|说明|說明|提供|给出)",
            r"[无無]法(?:回答|确定|確定|判断|判斷|得知)",
            r"^我?不知道\W*$",
            r"(?:没有|沒有)(?:相关|相關)?(?:信息|資訊|答案)",
            r"^(?:很?抱歉|对不起|對不起)",
            r"(?:본문|지문|글|텍스트|문서)에(?:는|서는|서)?.{0,24}(?:없|않)",
            r"언급되(?:어 있)?지 않",
            r"^알 수 없",
            r"모르겠",
            r"정보가 없",
            r"^죄송",
            # Arabic
            r"(?:غير|لم يتم|لم|لا) ?(?:مذكور|ذكر|يذكر|يُذكر)",
            r"لا (?:توجد|يوجد) (?:معلومات|إجابة)",
            r"^لا أعرف",
            r"(?:ليس|غير موجود) في النص",
            r"النص لا ",
            r"^(?:آسف|عذرا)",
        )
    ),
    re.IGNORECASE,
)
LONGEST = 300  # characters of the first clause
_CANNOT = re.compile(r"\bcan(?:['’]?t|not)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;!?。！？，；]|\.(?=\s|$)")


def declines(answer: str) -> bool:
    """Whether an answer says that there is none, in English or in some other large language."""
    if not words(answer):
        return True
    text = _CANNOT.sub("can not", answer.strip("\"'“”*_() \n"))
    text = re.sub(r"n['’]t\b", " not", text).replace("’", "'")
    sorry = False
    while found := _SORRY.match(text):
        sorry, text = True, text[found.end() :]
    clause = _CLAUSE.split(text, maxsplit=1)[0].strip()
    if len(clause) > LONGEST:
        return False
    refused = sorry and _NO.search(clause)
    return bool(refused or _ENGLISH.match(clause) or _OTHERS.search(clause))
