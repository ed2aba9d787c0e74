"""How fast a report opens in Chromium, and how long a frame takes while the pointer moves over it.

    python benchmarks/explorer.py [--repeats 5] [--moves 60]

Maps are softmaxes of normal logits (deviation 2), noise that compresses worse than attention. "usable" is the time from
the start of the navigation to the first coloured text; "frame" is what one frame costs in which the pointer is on
another token or cell: script, style, layout and paint. On a busy machine read the processor's time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.views.page.exhibit import exhibit
from contextmix.views.page.report import Section, report

# (methods, layers, heads, tokens); one head: a map without heads
CASES = {
    "64 tokens, 6 methods, 6 layers": (6, 6, 1, 64),
    "256 tokens, 12 layers, 12 heads": (1, 12, 12, 256),
    "512 tokens, 2 methods, 6 layers": (2, 6, 1, 512),
}
WORDS = [
    "the",
    "film",
    "was",
    "a",
    "deep",
    "and",
    "meaningful",
    "study",
    "of",
    "quiet",
    "people",
    "who",
    "never",
    "say",
    "what",
    "they",
    "mean",
]

USABLE = """() => new Promise((done) => {
    const look = () => {
        const root = document.querySelector('.contextmix-explorer')?.shadowRoot;
        const token = root?.querySelector('.panel:not([aria-busy]) .token[style]');
        token ? requestAnimationFrame(() => done(performance.now())) : requestAnimationFrame(look);
    };
    look();
})"""

# What draws was asked for before the last callback of the frame; the frame is over when the next task runs.
FRAME = """async ([selector, count]) => {
    const root = document.querySelector('.contextmix-explorer').shadowRoot;
    const target = [...root.querySelectorAll(selector)].at(-1);
    const tokens = target.querySelectorAll('.token');
    const moved = (part) => {
        const box = target.getBoundingClientRect();
        const [clientX, clientY] = [box.left + box.width * (0.15 + 0.8 * part), box.top + box.height * part];
        const place = {bubbles: true, clientX, clientY};
        const token = tokens[Math.floor(part * tokens.length)];
        if (token) token.dispatchEvent(new PointerEvent('pointerover', place));
        else target.dispatchEvent(new PointerEvent('pointermove', place));
    };
    const times = [];
    for (let move = 0; move < count; move++)
        await new Promise((done) => {
            let start;
            requestAnimationFrame(() => (start = performance.now()));
            moved((move + 0.5) / count);
            const channel = new MessageChannel();
            channel.port1.onmessage = () => { times.push(performance.now() - start); done(); };
            requestAnimationFrame(() => channel.port2.postMessage(0));
        });
    return times;
}"""


def made(methods: int, layers: int, heads: int, tokens: int) -> str:
    """The report of one case."""
    pieces = tuple(WORDS[place % len(WORDS)] for place in range(tokens))
    words = Tokens(pieces, words=tuple(range(tokens)))
    random = np.random.default_rng(0)
    dims = ("layer", "head", "query", "key") if heads > 1 else ("layer", "query", "key")
    shape = tuple({"layer": layers, "head": heads}.get(axis, tokens) for axis in dims)
    maps = {}
    for method in range(methods):
        weights = np.exp(2 * random.normal(size=shape))
        shares = weights / weights.sum(-1, keepdims=True)
        maps[f"method {method}"] = TokenMap(shares, dims, words, "share", Provenance(f"method {method}"))
    return report([Section(exhibit(maps, query=0), "")])


def timed(browser: Any, address: str, repeats: int, moves: int) -> dict[str, float]:
    """Milliseconds until usable and of a frame, as they passed (median) and of the processor, for the page's thread."""
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(address)
        found.setdefault("usable", []).append(float(page.evaluate(USABLE)))
        found.setdefault("usable, processor", []).append(spent(session))
        for name, selector in {"tokens": ".text", "map": ".map .marks"}.items():
            before = spent(session)
            times = page.evaluate(FRAME, [selector, moves])
            found.setdefault(f"frame over {name}", []).extend(times)
            found.setdefault(f"frame over {name}, worst tenth", []).append(float(np.quantile(times, 0.9)))
            found.setdefault(f"frame over {name}, processor", []).append((spent(session) - before) / moves)
        page.close()
    return {name: statistics.median(times) for name, times in found.items()}


def spent(session: Any) -> float:
    """Milliseconds that the page's thread has computed so far."""
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return 1000 * float(metrics["TaskDuration"])


def main(repeats: int, moves: int) -> None:
    """Print one line per case and figure."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, case in CASES.items():
            file = Path(folder) / "report.html"
            file.write_text(made(*case), encoding="utf-8")
            print(f"{name}: {file.stat().st_size / 1e6:.2f} MB")
            found = timed(browser, file.as_uri(), repeats, moves)
            for what, milliseconds in found.items():
                print(f"  {what}: {milliseconds:.1f} ms")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--moves", type=int, default=60)
    arguments = parser.parse_args()
    main(arguments.repeats, arguments.moves)
