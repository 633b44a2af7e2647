"""How models say that they will not or cannot do what was asked, in 18 languages.

Each pattern needs who (I, we), a modal that denies, and what is denied: help, an answer, a text. "I
can't believe it", "I'm sorry to hear that" and "this cannot be repaired" have no such verb. Texts
come with straight apostrophes, "not" for "n't" and "can not" for "cannot".
"""

from __future__ import annotations

import re

_LY = r"(?:\w+ly\s|also\s|just\s|in\sgood\sconscience\s){0,2}"
_CALLED = (  # with "not" or a word of the kind before it
    r"can\snot|will\snot|may\snot|must\snot|should\snot|do\snot\s(?:want|wish)\sto(?!\sdo\sthat)"
    r"|will\snot\sbe\sable\sto|am\s(?:not\sable|(?:currently\s)?unable|incapable\sof"
    r"|forbidden)(?:\sto)?|am\snot\s(?:currently\s)?(?:programmed|designed|allowed|permitted"
    r"|authori[sz]ed|equipped|willing|in\sa\sposition|supposed|prepared|trained|qualified)\sto"
    r"|am\snot\scapable\sof|am\sprohibited\sfrom|am\snot\sgoing\sto|refuse\sto"
    r"|do\snot\shave\sthe\s(?:ability|capability|capacity|authority|means)\sto|(?:(?:must|have\sto"
    r"|need\sto)\s)?(?:respectfully\s|politely\s)?decline\sto|would\s(?:rather\snot|prefer\snot\sto"
    r"|not\sbe\sable\sto)|prefer\snot\sto|am\snot\ssure\s(?:that\s)?i\s(?:can|should|want\sto)"
    r"|do\snot\sthink\s(?:that\s)?i\s(?:can|should|could|will\sbe\sable\sto|want\sto|am\sable\sto)"
)
# What is not done. Verbs of everyday sentences ("I can't tell you how happy I am", "I cannot
# recommend it enough") take an object that only a request has.
_SERVE = (
    r"(?:help|assist|aid)(?=\s(?:you|with|in|anyone|to)\b|\W*$)|provid(?:e|ing)|fulfil{1,2}|comply"
    r"|answer(?:ing)?(?!\sfor\b)|engag(?:e|ing)|participate|generat(?:e|ing)|creat(?:e|ing)"
    r"|writ(?:e|ing)|produc(?:e|ing)|compose|draft|satisfy|accommodate|facilitate"
    r"|respond\sto\s(?:this|that|your|such|questions)|discuss(?:ing)?|disclose|reveal|suggest"
    r"|encourage|condone|endorse|promote|advocate|perform|speculate|predict|teach|carry\sout|(?:run"
    r"|execute)\s(?:this|that|your|the|any|code)|translate|browse|access|pretend|act\sas|role-?play"
    r"|support(?:ing)?\s(?:this|that|any|your|such)|offer\s(?:you\s)?(?:any|advice|an?|the|specific"
    r"|information|guidance|medical|legal|personal|financial|instructions|assistance|opinions)"
    r"|share\s(?:any|this|that|the|my|such|personal|information|private|details|content|links)"
    r"|give\s(?:you\s)?(?:any|an?|the|that|this|advice|specific|out|instructions|information"
    r"|medical|legal|tips|details|personal|my|more|such|financial|directions)"
    r"|tell\s(?:you\s)?(?:about|anything|where|what|which|the\s(?:exact|current|time)|jokes|stories"
    r"|an?\s(?:joke|story)|how\sto)|recommend\s(?![^.!?]{0,40}\benough\b)(?:any|that\syou|specific"
    r"|this|particular|ways|or|using|places|illegal)|advise\s(?:you\s)?(?:on|to|about|how)"
    r"|do\s(?:that|this|so|it|what\syou|as\syou|your)|(?:complete|continue|process|verify)\s(?:this"
    r"|that|your|the|with|writing)|make\s(?:this|any|jokes?|fun|such|an?\s(?:joke|list|statement"
    r"|recommendation|bomb))|(?:describe|explain)\s(?:how|what|that|this|the)|say\s(?:those|such"
    r"|anything|things)|use\s(?:that|such|this|offensive|profan)|talk\sabout|(?:show|draw|display"
    r"|open|view|watch|play)\s(?:you\s)?(?:images?|pictures?|videos?|music|audio|files?|links?|that"
    r"|this|any|the|your)|be\s(?:of\s(?:help|assistance|any)|a\spart)|accept\s(?:this|that|your)"
)
_WHO = (  # a sentence, or what a comma or a word parts from an excuse
    r"(?:^|[,;:–—-]\s|\b(?:but|so|and|(?:you|say|afraid|sorry)\sthat|however|unfortunately"
    r"|regrettably|sadly|no|model|ai|assistant|chatbot|afraid)\s)(?:i|we)\s"
)
_BAD = (
    r"(?:not\s(?:appropriate|ethical|possible|right|safe|okay|legal)|illegal|unethical"
    r"|inappropriate|irresponsible|immoral|harmful|wrong)"
)
ENGLISH = re.compile(
    rf"{_WHO}{_LY}(?:{_CALLED})\s{_LY}(?:{_SERVE})\b"
    rf"|{_WHO}{_LY}(?:do\snot\sfeel|am\snot|would\snot\s(?:be"
    rf"|feel))\s(?:\w+\s)?comfortable\s(?:with\s"
    r"(?!the)|\w+ing\b)"
    rf"|{_WHO}(?:do\snot|am\snot\sable\sto)\s(?:currently\s)?have\s(?:\w+\s)?access\sto\s(?:your"
    rf"|the"
    r"\sinternet|real|current|external|that|this|personal|any|information|up)|^(?:no,?\s)?(?:i"
    r"|we)\s(?:will\snot|refuse|must\sdecline|have\sto\sdecline|would\srather\snot"
    r"|can\snot)(?:\sdo)?(?:\s(?:that|this|it))?\W*$|\b(?:that|this|it)\s(?:is"
    r"|would)\snot\s(?:be\s)?something\s(?:that\s)?i\s(?:can|could|will|would|want|am|feel"
    r"|should)\b"
    rf"|\bit\s(?:is|would\sbe)\s{_BAD}\sfor\sme\sto\b"
    r"|\b(?:is|goes)\sagainst\smy\s(?:programming|guidelines|polic|principles|ethic|purpose|code)"
    r"|\b(?:my|our|openai's)\s(?:\w+\s)?(?:guidelines?|programming|polic(?:y|ies)"
    r"|principles)\s(?:do(?:es)?\snot\sallow|prevents?|prohibits?|forbids?)\s|^(?:your|this"
    r"|that)\s(?:request|question|prompt|query)\s(?:\w+\s){0,3}?(?:violates|goes\sagainst"
    r"|is\s(?:inappropriate|not\sappropriate|against)|can\snot\sbe\s(?:fulfilled|answered"
    r"|processed))|^let\sus\s(?:talk\sabout\ssomething\selse|change\sthe\s(?:subject|topic))",
    re.IGNORECASE,
)
SORRY = re.compile(
    r"(?:(?:i|we)\s(?:am|are)\s)?(?:very\s|so\s|really\s|truly\s|terribly\s)?sorry\b"
    r"|(?:my\s)?(?:sincere\s)?apologies\b|i\s(?:sincerely\s|deeply\s|do\s)?apologi[sz]e\b",
    re.IGNORECASE,
)
# What would be answered is not there: that asks for it.
ASKS = re.compile(
    r"\b(?:could|can|would|will)\syou\s(?:\w+\s){0,2}?(?:provide|clarify|share|specify|paste"
    r"|rephrase|elaborate|give\sme\s(?:more|the|some)|tell\sme\s(?:more|which|what)|explain\swhat"
    r"|send|upload|be\smore\sspecific)|\bplease\s(?:\w+\s)?(?:provide|share|specify|clarify|paste"
    r"|rephrase|tell\sme\s(?:more|which)|give\sme\s(?:more|the)|send|upload)|\byou\s(?:did"
    r"|have)\snot\s(?:\w+\s)?(?:provided?|includ|attach|specif|given|give|share|mention)"
    r"|\bno\s(?:\w+\s){1,3}?(?:was|were|has\sbeen|is|are)\s(?:provided|given|attached|included)"
    r"|\bunless\s(?:i|you)\b|\bwithout\s(?:\w+\s){0,3}?(?:information|context|details|text|knowing"
    r"|seeing|specifics|data)|\bi\s(?:would\s)?need\s(?:\w+\s){0,3}?(?:information|context|details"
    r"|to\sknow|to\ssee)\b|\bif\syou\s(?:can\s|could\s|do\snot\s)?(?:provide|share|give|paste"
    r"|clarify|specify|explain)\b|\bi\s(?:do\snot"
    r"|am\snot\ssure\s(?:that\s)?i)\s(?:\w+\s)?(?:understand|follow|see\s(?:any|an?))",
    re.IGNORECASE,
)
# After a refusal: what only an answer has. "However, I can help with …" is an offer, no answer.
HELPS = re.compile(
    r"\bhere\s(?:is|are)\b|\bi\s(?:can|will)\s(?:\w+\s)?(?:offer|give|provide|share|suggest|tell"
    r"|explain)\b[^.\n]{0,80}[:\n]|\bhowever,\s(?:based\son|it\sis|there\s(?:is|are)|some"
    r"|in\sgeneral|as\sof)\b|\bfor\sexample\b",
    re.IGNORECASE,
)
# A reserve at the head of an answer, where the answer follows.
HEDGE = re.compile(
    r"\b(?:definit(?:iv)?e|specific|exact|precise|personal|opinions?|real-time|up-to-date|certain"
    r"|professional|medical|legal|financial|predict|properly|personally|guarantee)\b",
    re.IGNORECASE,
)
BUT = re.compile(
    r"\b(?:but|however)\b,?\s(?:here|some|it\s(?:is|seems)|there|i\s(?:will|think|am\sable"
    r"|can\s(?:say|tell|give|offer|provide|share|inform))|one|many|most|the)\b",
    re.IGNORECASE,
)
OTHERS = re.compile(
    "|".join(
        (
            # German, Dutch
            r"\bich (?:kann|darf|werde|möchte|will|könnte)\b[^.!?]{0,60}?\b(?:nicht"
            r"|keine?[nrms]?)\b[^.!?]{0,80}?\b(?:weiter)?(?:helfen|unterstützen|behilflich"
            r"|beantworten|erfüllen|bereitstellen|geben|anbieten|nachkommen|liefern|erstellen"
            r"|schreiben|teilnehmen|entsprechen|verfassen|generieren|diskutieren|sagen)\b",
            r"\b(?:kann|darf|werde|möchte) ich\b[^.!?]{0,60}?\b(?:nicht"
            r"|keine?[nrms]?)\b[^.!?]{0,80}?\b(?:weiter)?(?:helfen|dienen|unterstützen|beantworten"
            r"|erfüllen|geben|anbieten|liefern|erstellen|schreiben|generieren)\b",
            r"\bich bin (?:leider )?nicht (?:in der lage|befugt|dazu programmiert|berechtigt)",
            r"\bik (?:kan|mag|ga|wil|zal)\b[^.!?]{0,40}?\b(?:niet|geen)\b[^.!?]{0,60}?\b(?:helpen"
            r"|beantwoorden|geven|verstrekken|voldoen|bieden|schrijven|genereren)\b",
            r"\bik ben (?:helaas )?niet in staat",
            # French, Italian
            r"\bje ne (?:peux|puis|pourrai|saurais|vais|souhaite|dois)\b[^.!?]{0,20}?\b(?:pas "
            r"|malheureusement )?[^.!?]{0,30}?\b(?:aider|répondre|fournir|donner|satisfaire"
            r"|traiter|rédiger|écrire|générer|créer|participer|proposer|accéder|discuter"
            r"|assister)\b",
            r"\bje ne suis (?:malheureusement )?pas (?:en mesure|capable|autorisée?|programmée?"
            r"|habilitée?)",
            r"\bil m'est impossible d",
            r"\bnon (?:posso|potrò|intendo|voglio)\b[^.!?]{0,20}?\b(?:aiutar\w*|risponder\w*"
            r"|fornir\w*|soddisfar\w*|dar\w*|offrir\w*|assister\w*|scriver\w*|generar\w*|crear\w*"
            r"|partecipar\w*)\b",
            r"\bnon (?:sono in grado|mi è possibile|sono autorizzat|sono programmat)",
            # Spanish, Portuguese
            r"\bno (?:puedo|podré|podría|voy a|debo|quiero)\b[^.!?]{0,20}?\b(?:ayudar\w*"
            r"|responder\w*|cumplir|proporcionar\w*|brindar\w*|ofrecer\w*|dar\w*|generar"
            r"|escribir\w*|crear|participar|hacer eso|compartir|asistir\w*|atender|facilitar\w*)\b",
            r"\bno (?:estoy|soy) (?:capaz|en condiciones|autorizad|programad|facultad)"
            r"|\bno me es posible\b",
            r"\bn[ãa]o (?:posso|consigo|vou|poderei|quero|devo)\b[^.!?]{0,20}?\b(?:ajud\w*"
            r"|responder|fornecer\w*|atender|oferecer|dar|gerar|escrever|criar|participar|cumprir"
            r"|compartilhar|auxiliar)\b",
            r"\bn[ãa]o (?:estou|sou) (?:capaz|apt|autorizad|programad)|\bn[ãa]o me é possível\b",
            # Polish, Russian, Ukrainian
            r"\bnie (?:mogę|jestem w stanie|będę|mogłabym|mógłbym)\b[^.!?]{0,30}?\b(?:pomóc"
            r"|pomagać|odpowiedzieć|udzielić|udzielać|spełnić|podać|dostarczyć|zrealizować|napisać"
            r"|tworzyć|wygenerować)\b",
            r"\bне (?:могу|смогу|буду|в состоянии|имею возможности"
            r"|способ\w+)\b[^.!?]{0,40}?\b(?:помо\w+|ответить|отвечать|предостав\w+|выполн\w+|дать"
            r"|давать|обсуждать|написать|писать|создать|создавать|поддерж\w+|генерировать)",
            r"\bне (?:можу|зможу|буду)\b[^.!?]{0,40}?\b(?:допомо\w+|відповісти|надати|виконати"
            r"|написати|створити)",
            # Turkish, Vietnamese, Indonesian
            r"\b(?:yardımcı olamam|yardımcı olamıyorum|yardımcı olamayacağım|yardım edemem"
            r"|yardım edemiyorum|cevap veremem|yanıt veremem|sağlayamam|sağlayamıyorum"
            r"|yerine getiremem)\b",
            r"\b(?:tôi|mình) (?:không thể|không được phép|không có khả năng)\b[^.!?]{0,30}?(?:giúp"
            r"|hỗ trợ|cung cấp|trả lời|thực hiện|đáp ứng|viết|tạo)\b",
            r"\bsaya tidak (?:dapat|bisa|mampu|boleh|akan)\b[^.!?]{0,30}?\b(?:membantu|memberi\w*"
            r"|menjawab|menyediakan|memenuhi|menulis|membuat|melakukan)",
            # Japanese, Chinese, Korean
            r"(?:お答え|回答|お手伝い|手伝う|対応|提供|お応え|応じる|サポート|支援|ご案内|お伝え|作成|協力)(?:を|は|が|する|すること|こと|いた|し|も"
            r"|の)*(?:でき|出来)(?:ません|かねます|ない)|(?:お答え|回答|お手伝い|対応|提供|お応え|ご案内)(?:いた)?しかねます",
            r"(?:我|抱歉|对不起|對不起|很遗憾|很遺憾|本人)[^。！？]{0,14}?(?:无法|無法|不能|不会|不會|没办法|沒辦法|没有办法|拒绝"
            r"|拒絕)[^。！？]{0,14}?(?:提供|帮助|幫助|协助|協助|回答|满足|滿足|完成|执行|執行|讨论|討論|生成|给出|給出|参与|參與|帮你|帮您|支持"
            r"|撰写|撰寫|处理)",
            r"(?:도와\s?드릴|도울|도움을\s?드릴|도움을\s?줄|답변(?:해|을)?\s?드릴|답변할|대답할|제공(?:해)?\s?드릴|제공할|응답할|응할|수행할"
            r"|작성할|작성해\s?드릴)\s?수\s?(?:는|가)?\s?없",
            # Arabic, Hindi
            r"(?:لا|لن) (?:أستطيع|يمكنني|أقدر|استطيع|أتمكن من)(?: \w+){0,2}? ?(?:مساعد|المساعدة"
            r"|الإجابة|الرد|تقديم|تلبية|توفير|كتابة|إنشاء|تنفيذ)|لست قادر",
            r"(?:मैं|हम)[^।!?]{0,60}?(?:मदद|सहायता|प्रदान|उत्तर|जवाब|पूरा"
            r"|लिख)[^।!?]{0,12}?नहीं\s?(?:कर|दे)?\s?(?:सकता|सकती|सकते|पाऊं)",
        )
    ),
    re.IGNORECASE,
)
