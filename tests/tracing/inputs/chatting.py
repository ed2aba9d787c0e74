"""Chat templates of five families in small, each with a habit of its own, and a tokenizer that bears one."""

from typing import Any

from tests.tracing.tiny import byte_pairs
from tokenizers import processors

TEMPLATES = {
    # Qwen: texts stay as they are.
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    # Llama 3: a start token, and texts are stripped.
    "headers": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    # Gemma: the system message stands before the first text of the user.
    "turns": (
        "{{ bos_token }}{% set first = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
        "{% for m in messages if m.role != 'system' %}"
        "<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n"
        "{{ (first if loop.first else '') + m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    # Mistral: instructions in brackets, roles must take turns, and nothing asks for the answer.
    "brackets": (
        "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must take turns.') }}{% endif %}"
        "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
    ),
    # DeepSeek R1: thoughts are dropped from answers.
    "thoughts": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<|Assistant|>"
        "{{ m.content.split('</think>')[-1] }}<|end|>{% else %}<|User|>{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|Assistant|>{% endif %}"
    ),
}
ESCAPING = "{% for m in messages %}<p>{{ m.content | e }}</p>{% endfor %}"


def chatty(template: str | None = None, limit: int = 10**9) -> Any:
    """A byte-level tokenizer that writes every text, with a start token and a template for chats."""
    tokenizer = byte_pairs()
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})
    whole = tokenizer.backend_tokenizer
    start = [("<s>", tokenizer.bos_token_id)]
    begins = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=start)
    whole.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), begins])
    tokenizer.chat_template = TEMPLATES.get(template or "", template)
    tokenizer.model_max_length = limit
    return tokenizer
