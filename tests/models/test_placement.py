"""Models whose weights lie on disk or beside a device until they are used: the same numbers, in less memory."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.models.two_stacks.models import build as two_stacks
from tests.models.two_stacks.models import source
from tests.tracing.tiny import build, one_thread, token_ids

import contextmix as cm
from contextmix.datasets.storage.identity import weights_hash
from contextmix.errors import BadOption, ContextMixError, UnsupportedModel
from contextmix.tracing.runs.randomise import randomised

accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
SOURCE = {"input_ids": token_ids(7)[0]}
EVERYWHERE = {"": "disk"}


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture
def saved(tmp_path: Path):
    """Saves a model, and says where."""

    def save(model: Any) -> str:
        model.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return save


def on_disk(place: str, where: Any = EVERYWHERE, **more: Any) -> Any:
    return cm.load(place, device_map=where, offload_folder=f"{place}/offloaded", **more)


def same(found: Any, wanted: Any) -> bool:
    return np.allclose(found.values, wanted.values, rtol=1e-5, atol=1e-5 * np.abs(wanted.values).max())


@pytest.mark.parametrize(("family", "head"), [("bert", "ForSequenceClassification"), ("llama", "ForCausalLM")])
def test_every_method_gives_the_same_numbers_with_all_weights_on_disk(family: str, head: str, saved: Any):
    place = saved(build(family, head))
    whole, spread = cm.load(place), on_disk(place)
    assert all(weight.is_meta for weight in spread.model.parameters())
    worked = 0
    for name in cm.methods().index:
        try:
            wanted = whole.explain(SOURCE, name)
        except ContextMixError as reason:
            with pytest.raises(type(reason)):
                spread.explain(SOURCE, name)
            continue
        assert same(spread.explain(SOURCE, name), wanted), name
        worked += 1
    assert worked >= 12
    assert all(weight.is_meta for weight in spread.model.parameters())


@pytest.mark.parametrize(
    ("family", "head"), [("gpt2", "LMHeadModel"), ("gemma2", "ForCausalLM"), ("distilbert", "ForMaskedLM")]
)
def test_every_layout_is_read_from_disk(family: str, head: str, saved: Any):
    place = saved(build(family, head))
    whole, spread = cm.load(place), on_disk(place)
    for name, more in {"globenc": {}, "value_zeroing": {}, "evidence": {"position": -1}}.items():
        assert same(spread.explain(SOURCE, name, **more), whole.explain(SOURCE, name, **more)), name


def test_both_stacks_are_read_from_disk(saved: Any):
    place = saved(two_stacks("t5", torch.float32))
    written: Any = source("t5") | {"decoder_input_ids": torch.tensor([[0, 5, 6]])}
    found, wanted = (one.explain(written, "alti_rollout") for one in (on_disk(place), cm.load(place)))
    assert same(found, wanted)


def test_parts_in_memory_and_parts_on_disk(saved: Any):
    place = saved(build("llama", "ForCausalLM"))
    where = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "disk"}
    spread = on_disk(place, where | {"model.rotary_emb": "cpu", "lm_head": "cpu"})
    assert 0 < sum(weight.is_meta for weight in spread.model.parameters()) < len(list(spread.model.parameters()))
    assert same(spread.explain(SOURCE, "value_zeroing"), cm.load(place).explain(SOURCE, "value_zeroing"))
    assert spread.check(SOURCE).parity < 1e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_half_precision(dtype: str, saved: Any):
    """The parts are looked for in float32: on twins of the modules, not on the tensors that are fetched."""
    place = saved(build("llama", "ForCausalLM"))
    whole, spread = cm.load(place, dtype=dtype), on_disk(place, dtype=dtype)
    for name in ("norm", "gradient_inputs", "evidence"):
        assert np.array_equal(spread.explain(SOURCE, name).values, whole.explain(SOURCE, name).values), name
    assert {str(weight.dtype) for weight in spread.model.parameters()} == {f"torch.{dtype}"}


def test_a_model_that_accelerate_has_offloaded_itself(saved: Any):
    model = build("bert", "ForSequenceClassification")
    wanted = cm.load(copy.deepcopy(model)).explain(SOURCE, "decompx")
    assert same(cm.load(accelerate.cpu_offload(model)).explain(SOURCE, "decompx"), wanted)


def test_a_decoder_on_disk_goes_on_with_a_text(saved: Any):
    place = saved(build("llama", "ForCausalLM"))
    prompt: Any = {"input_ids": SOURCE["input_ids"]}
    wanted = cm.load(place).explain_generation(prompt, max_new_tokens=3)
    found = on_disk(place).explain_generation(prompt, max_new_tokens=3)
    assert found.tokens.ids == wanted.tokens.ids
    assert same(found, wanted)


@pytest.mark.parametrize(("family", "head"), [("gpt2", "LMHeadModel"), ("bert", "ForSequenceClassification")])
def test_a_model_is_known_by_its_content_wherever_that_lies(family: str, head: str, saved: Any):
    place = saved(build(family, head))  # the head of GPT-2 is its embeddings
    assert weights_hash(on_disk(place).model) == weights_hash(cm.load(place).model)
    assert weights_hash(build(family, head, seed=1)) != weights_hash(cm.load(place).model)


# What is refused -----------------------------------------------------------------------------------------------------


def test_random_weights_need_all_weights_in_memory(saved: Any):
    spread = on_disk(saved(build("bert", "ForSequenceClassification")))
    with pytest.raises(UnsupportedModel, match="without a device_map"):
        randomised(spread.model, spread.anatomy(), seed=0)


def test_a_device_and_a_device_map_are_two_places(saved: Any):
    place = saved(build("bert"))
    with pytest.raises(BadOption, match="one of them"):
        cm.load(place, device="cpu", device_map="auto")
    spread = on_disk(place).model
    with pytest.raises(BadOption, match="Leave out device"):
        cm.load(spread, device="cpu")


def test_a_loaded_model_is_not_loaded_in_another_way():
    with pytest.raises(BadOption, match=r"device_map.*already loaded"):
        cm.load(build("bert"), device_map="auto")
    with pytest.raises(BadOption, match=r"quantization_config.*already loaded"):
        cm.load(build("bert"), quantization_config={})


def test_a_misspelled_argument_is_named():
    with pytest.raises(TypeError, match=r"devce_map.*Did you mean 'device_map'"):
        cm.load("demo", devce_map="auto")


@pytest.mark.parametrize("where", ["nowhere", {"": "cuda:99"}])
def test_places_that_there_are_not(where: Any, saved: Any):
    place = saved(build("bert", "ForSequenceClassification"))
    with pytest.raises((BadOption, UnsupportedModel), match=r"device_map|meta device"):
        cm.load(place, device_map=where)


def test_equal_weights_in_two_places(saved: Any):
    """accelerate then looks for the head on disk, where it is not."""
    place = saved(build("gpt2", "LMHeadModel"))
    with pytest.raises(UnsupportedModel, match=r"lm_head\.weight.*in one place"):
        on_disk(place, {"transformer": "cpu", "lm_head": "disk"})


def test_a_weight_without_content_that_nobody_fetches():
    with torch.device("meta"):
        model = transformers.BertModel(build("bert").config)
    with pytest.raises(UnsupportedModel, match=r"meta device.*Load it into memory"):
        cm.load(model)


# Memory --------------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
import torch, transformers
import contextmix as cm
torch.set_num_threads(1)
place, where, allowed = sys.argv[1:]
cm.load("demo-decoder").explain("Once upon a time", "evidence")  # all that is imported late
def limit():
    with open("/proc/self/status") as said:
        used = next(int(line.split()[1]) * 1024 for line in said if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(allowed),) * 2)
if where == "memory":
    limit()
    model = cm.load(place)
else:  # to load it, all of its files are mapped, and none is read
    model = cm.load(place, device_map={"": "disk"}, offload_folder=place + "/offloaded")
    limit()
found = model.explain({"input_ids": torch.arange(3, 11)}, "globenc")
print(found.values.sum().item())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_model_of_twice_the_memory_that_is_allowed(tmp_path: Path):
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8, "num_key_value_heads": 8}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=64, num_hidden_layers=24, **shape))
    model.save_pretrained(tmp_path / "model", max_shard_size="40MB")  # in several files, as large models are
    size = sum(weight.nbytes for weight in model.parameters())
    wanted = cm.load(model).explain({"input_ids": torch.arange(3, 11)}, "globenc").values.sum().item()

    def run(where: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIMITED, str(tmp_path / "model"), where, str(size // 2)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert "memory" in run("memory").stderr.lower()
    found = run("disk")
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) == pytest.approx(wanted, rel=1e-5)
