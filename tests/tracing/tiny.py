"""Tiny random models and tokenizers: all that a family is, in milliseconds, and no weight at a trivial value."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ABSENT = object()
"""In the place of a setting that a family does not know."""
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {}),
    "roberta": ("Roberta", {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}),
    "electra": ("Electra", {"embedding_size": 8}),
    "distilbert": ("DistilBert", {"hidden_dim": 32}),
    "albert": ("Albert", {"embedding_size": 8}),
    "llama": ("Llama", {**MARKS, "num_key_value_heads": 1}),
    "gpt2": ("GPT2", MARKS),
    # As its makers advise: the fused attention of some versions of transformers leaves its soft cap out.
    "gemma2": ("Gemma2", {**MARKS, "num_key_value_heads": 1, "head_dim": 8, "attn_implementation": "eager"}),
    "granite": ("Granite", {**MARKS, "num_key_value_heads": 1, "residual_multiplier": 0.3}),
    "olmo2": ("Olmo2", {**MARKS, "num_key_value_heads": 1}),
    "modernbert": ("ModernBert", {**MARKS, "cls_token_id": 1, "sep_token_id": 2}),
    "phi": ("Phi", MARKS),
    "gpt_neox": ("GPTNeoX", MARKS),
    "lfm2": ("Lfm2", {**MARKS, "num_key_value_heads": 1}),
    # These compute attention outside of the registry.
    "debertav2": ("DebertaV2", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 4}),
    "deberta": ("Deberta", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "mpnet": ("MPNet", {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}),
    "ibert": ("IBert", {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}),
    "roformer": ("RoFormer", {"embedding_size": 8}),
    "bloom": ("Bloom", MARKS),
    "gptneo": ("GPTNeo", {**MARKS, "attention_types": [[["global", "local"], 1]], "window_size": 4}),
    "falcon": ("Falcon", MARKS),
    "mpt": ("Mpt", MARKS),
    "openaigpt": ("OpenAIGPT", {}),
    "xlnet": ("XLNet", {"d_inner": 32, "d_head": 8, "max_position_embeddings": ABSENT}),
}
WOVEN: dict[str, tuple[str, dict[str, Any]]] = {
    # These do so in no single product.
    "longformer": ("Longformer", {"attention_window": 4, "pad_token_id": 1, "max_position_embeddings": 40}),
    "nystromformer": ("Nystromformer", {"conv_kernel_size": 3}),
    "convbert": ("ConvBert", {"embedding_size": 8, "num_attention_heads": 4, "head_ratio": 2, "conv_kernel_size": 3}),
}
ROUNDOFF = 16 * torch.finfo(torch.float32).eps
"""How far apart, beside the largest number, two orders of adding up states of 16 float32 numbers may end."""
ENCODERS = ["bert", "roberta", "electra", "distilbert", "albert"]
DECODERS = ["llama", "gpt2"]


def build(family: str, head: str = "Model", seed: int = 0, **changes: Any) -> transformers.PreTrainedModel:
    """A fresh model of a family, such as ``build("bert", "ForSequenceClassification", num_hidden_layers=1)``."""
    prefix, own = {**FAMILIES, **WOVEN}[family]
    settings = {name: value for name, value in {**SIZES, **own, **changes}.items() if value is not ABSENT}
    config = getattr(transformers, f"{prefix}Config")(**settings)
    return vivid(getattr(transformers, f"{prefix}{head}")(config), seed)


def vivid(model: nn.Module, seed: int = 0) -> Any:
    """Fill a model with weights that leave no norm, no bias and no attention row trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim < 2:
                weight.add_(0.3 * noise)  # norms stay around one (or zero, where they are stored so)
            else:
                weight.copy_(noise * (1.0 if "embed" in name or "wte" in name else weight.shape[-1] ** -0.5))
    return model.eval()


def in_float64(model: nn.Module) -> Any:
    """RMS norms of most families compute in float32 whatever the weights are; these do not."""
    for path, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
            exact = nn.RMSNorm(len(module.weight), eps=eps)
            exact.weight.data = module.weight.data + (1.0 if "Gemma" in type(module).__name__ else 0.0)
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, exact)
    return model.double().eval()


def token_ids(length: int, batch: int = 1, seed: int = 0) -> Tensor:
    """Random token ids (batch, length), none of them a mark such as padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, SIZES["vocab_size"], (batch, length), generator=generator)


def settings(model: nn.Module) -> list[str | None]:
    """The attention setting of every configuration inside a model, sub-configurations included."""
    configs = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    subs = [getattr(config, key) for config in configs.values() for key in getattr(config, "sub_configs", ())]
    return [config._attn_implementation for config in [*configs.values(), *subs]]


def hook_count(model: nn.Module) -> int:
    """How many hooks are on a model's modules."""
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny tensors on one thread: several threads on shared cores wait for each other twenty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "deep", "and", "mean", "##ing", "##ful", "film", "."]
WORDS += ["the", "good", "bad", "un", "##real", "##ly", "was", "!", "very", "##s"]


def word_pieces(limit: int = 24) -> transformers.PreTrainedTokenizerFast:
    """A WordPiece tokenizer like BERT's, for models of 40 token ids."""
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=limit, model_input_names=names, **marks
    )


def byte_pairs() -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer like GPT-2's: it writes a leading space as Ġ."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["a deep film", "the film", "deep film deep"] * 5, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24)


def pieces_across_spaces() -> transformers.PreTrainedTokenizerFast:
    """A BPE tokenizer like Llama's: it cuts nowhere first, so it calls the whole text one word."""
    vocabulary = {piece: number for number, piece in enumerate(["<s>", *"▁adepfilm", "▁d", "ee", "ep", "▁f", "il"])}
    merges = [("▁", "d"), ("e", "p"), ("▁", "f"), ("i", "l")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", model_max_length=24)
