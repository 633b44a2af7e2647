"""Chat templates are rendered as transformers renders them, without running what they hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import BOS, SMUGGLING, TEMPLATE, write_tokenizer

from karat import RecipeError
from karat.errors import RowError
from karat.rewards.chat_text import ChatTemplate, read_template
from karat.row import Message

LLAMA = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{{- "<|start|>system<|stop|>\\n\\nToday Date: " + date_string + "\\n\\n" + system_message }}
{%- for message in messages %}
    {{- '<|start|>' + message['role'] + '<|stop|>\\n\\n'+ message['content'] | trim + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|stop|>\\n\\n' }}
{%- endif %}
"""
CONTROL = (
    "{% for m in messages %}\n  {% if loop.index > 9 %}{% break %}{% endif %}\n"
    "{{ m.content | tojson }}{% generation %}{{ m.role }}{% endgeneration %}\n{% endfor %}"
)
TOKENS = {"bos_token": BOS, "eos_token": "<|end|>"}
TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text()), min_size=1)


@pytest.mark.parametrize("template", [TEMPLATE, SMUGGLING, LLAMA, CONTROL])
@given(turns=TURNS)
def test_it_writes_what_transformers_writes(template, turns):
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [{"role": role, "content": content} for role, content in turns]
    (wanted,), _ = render_jinja_template(
        conversations=[messages], chat_template=template, add_generation_prompt=False, **TOKENS
    )
    made = ChatTemplate(template, TOKENS, None, "here")
    assert made.render([Message(role, content) for role, content in turns]) == wanted


def test_a_folder_its_config_or_a_jinja_file(tmp_path):
    folder = write_tokenizer(tmp_path / "model")
    whole = read_template(folder)
    assert whole.bos == BOS
    assert read_template(folder / "tokenizer_config.json").digest == whole.digest
    (folder / "chat_template.jinja").write_text(TEMPLATE + "!")  # as transformers 5 saves them
    assert read_template(folder).digest != whole.digest
    assert read_template(folder / "chat_template.jinja").digest == read_template(folder).digest


def test_of_several_templates_the_default_counts(tmp_path):
    folder = write_tokenizer(tmp_path / "model")
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    tree = {"bos_token": BOS, "eos_token": "<|end|>", "chat_template": named}
    (folder / "tokenizer_config.json").write_text(json.dumps(tree))
    assert read_template(folder).render([Message("user", "a")]) == f"{BOS}<|user|>a<|end|>"


def test_tokens_that_nobody_knows_are_asked_for(tmp_path):
    alone = tmp_path / "mine.jinja"
    alone.write_text(TEMPLATE)
    with pytest.raises(RecipeError, match=r"bos_token.*put that file beside it"):
        read_template(alone)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for m in messages %}", "line 1"),
        ("hello", "must hold both"),
        ("{{ messages[0].content }}", "must hold both"),
        ("{{ raise_exception('no') }}", "no"),
    ],
)
def test_what_is_no_chat_template(tmp_path, source, words):
    path = tmp_path / "mine.jinja"
    path.write_text(source)
    with pytest.raises(RecipeError, match=words):
        read_template(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"chat_template": 4}', '{"chat_template": [1]}'])
def test_what_is_no_config(tmp_path, text):
    (tmp_path / "tokenizer_config.json").write_text(text)
    with pytest.raises(RecipeError, match="template"):
        read_template(tmp_path)


def test_a_conversation_it_does_not_take_costs_a_row():
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    made = ChatTemplate(source, {}, None, "here")
    with pytest.raises(RowError, match="no system"):
        made.render([Message("system", "s"), Message("user", "u")])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)  # fmt: skip
def test_it_runs_no_code(source):
    with pytest.raises(RowError):
        ChatTemplate(source, {}, None, "here").render([Message("user", "u")])


def test_the_clock_is_not_read():
    source = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}2024{% endif %}"
    assert ChatTemplate(source, {}, None, "here").render([Message("user", "u")]) == "2024"
