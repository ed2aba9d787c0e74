// An answer and its sources: whatever part of one side is pointed at lights up the other. No library, no network.

/** Bring an answer to life that stands in a document or in a shadow root. */
export function mount(root, data) {
  const units = [...root.querySelectorAll("[data-unit]")];
  const sources = [...root.querySelectorAll("[data-source]")];
  const panel = root.getElementById("panel");
  const whole = root.getElementById("whole");
  const last = data.scores.length - 1;
  let kept = null; // what was clicked: ["unit", 3] or ["source", 5]
  let focused = null; // where the keys are

  const percent = (share) => (share > 0 && share < 0.005 ? "<1%" : `${Math.round(share * 100)}%`);

  function paint(element, score) {
    for (const name of [...element.classList]) if (/^[pn]\d+$/.test(name)) element.classList.remove(name);
    const step = Math.round(Math.abs(score) * 10);
    if (step > 0) element.classList.add((score < 0 ? "n" : "p") + step);
  }

  function follow(link) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const source = root.getElementById(link.hash.slice(1));
      source.scrollIntoView({ block: "nearest" });
      source.focus();
    });
  }

  function row(label, share, kind, source, sum, change) {
    const line = document.createElement("tr");
    if (kind) line.className = kind;
    const [number, bar, name] = ["share", "bar", "label"].map((part) => {
      const cell = document.createElement("td");
      cell.className = part;
      return line.appendChild(cell);
    });
    number.textContent = percent(share);
    bar.appendChild(document.createElement("div")).dataset.share = share;
    name.dir = "auto";
    if (source === undefined) name.textContent = label;
    else {
      const link = name.appendChild(document.createElement("a"));
      link.href = `#source-${source}`;
      link.textContent = label;
      if (root !== document) follow(link);
    }
    if (sum) name.append(` (${sum})`);
    if (change) {
      const told = name.appendChild(document.createElement("span"));
      told.className = "change";
      told.textContent = `without it ${change}`;
    }
    return line;
  }

  function fill(title, rows, told, without = "") {
    const lost = panel.querySelector(".without");
    lost.textContent = without;
    lost.hidden = !without;
    panel.querySelector(".told").textContent = told;
    panel.querySelector("h3").textContent = title;
    panel.querySelector("tbody").replaceChildren(...rows);
    const bars = [...panel.querySelectorAll("[data-share]")];
    const largest = Math.max(...bars.map((bar) => Number(bar.dataset.share)), Number.MIN_VALUE);
    for (const bar of bars) bar.style.width = `${Math.max((bar.dataset.share / largest) * 100, 1)}%`;
  }

  const short = (element) => {
    const text = element.textContent.replace(/\s+/g, " ").trim();
    return text.length > 90 ? `${text.slice(0, 88)}…` : text;
  };

  function showUnit(number) {
    const shares = data.shares[number];
    const order = shares.map((_, place) => place).filter((place) => shares[place] > 0);
    order.sort((a, b) => shares[b] - shares[a] || a - b);
    const top = order.slice(0, 5).map((place) => row(short(sources[place]), shares[place], "", place, data.sums?.[number][place], data.changes?.[number][place]));
    const others = order.slice(5).reduce((sum, place) => sum + shares[place], 0);
    if (others > 0) top.push(row(`${order.length - 5} other sources`, others, "else"));
    const rest = data.elsewhere[number].map((share, place) => row(data.names[place], share, "else"));
    fill(number === last ? "What made the whole answer" : `What made “${short(units[number])}”`, [...top, ...rest], data.chances[number]);
    sources.forEach((element, place) => paint(element, data.scores[number][place]));
    units.forEach((element) => paint(element, 0));
  }

  function showSource(number) {
    const shares = data.shares.slice(0, last).map((each) => each[number]);
    const values = data.scores.slice(0, last).map((each) => each[number]);
    const largest = Math.max(...shares, Number.MIN_VALUE);
    units.forEach((element, place) => paint(element, values[place] < 0 ? values[place] : shares[place] / largest));
    sources.forEach((element) => paint(element, 0));
    const order = shares.map((_, place) => place).sort((a, b) => shares[b] - shares[a] || a - b);
    fill(
      `What “${short(sources[number])}” did`,
      order.slice(0, 8).map((place) => row(`of “${short(units[place])}”`, shares[place], "", undefined, data.sums?.[place][number], last > 1 ? data.changes?.[place][number] : "")),
      "",
      data.without[number],
    );
  }

  function show(what) {
    for (const element of [...units, ...sources]) element.classList.remove("chosen");
    if (what === null) return showUnit(last);
    const [side, number] = what;
    (side === "unit" ? units : sources)[number].classList.add("chosen");
    return side === "unit" ? showUnit(number) : showSource(number);
  }

  function keep(what) {
    kept = kept !== null && what !== null && kept.join() === what.join() ? null : what;
    for (const [side, list] of [["unit", units], ["source", sources]])
      list.forEach((element, place) => element.setAttribute("aria-pressed", String(kept?.join() === `${side},${place}`)));
    whole.disabled = kept === null;
    show(kept ?? what);
  }

  function listen(side, list) {
    list.forEach((element, place) => {
      const what = [side, place];
      element.tabIndex = place === 0 ? 0 : -1; // one stop for the tab key on each side; arrows do the rest
      element.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && show(what));
      element.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && show(kept ?? focused));
      element.addEventListener("focus", () => {
        for (const other of list) other.tabIndex = other === element ? 0 : -1;
        focused = what;
        show(what);
      });
      element.addEventListener("blur", () => {
        focused = null;
        show(kept);
      });
      element.addEventListener("click", () => keep(what));
      element.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        const to = event.key === "Home" ? 0 : event.key === "End" ? list.length - 1 : step ? place + step : null;
        if (event.key === "Enter" || event.key === " ") keep(what);
        else if (to !== null && list[to]) list[to].focus();
        else return;
        event.preventDefault();
      });
    });
  }

  listen("unit", units);
  listen("source", sources);
  whole.addEventListener("click", () => keep(null));
  root.addEventListener("keydown", (event) => event.key === "Escape" && keep(null));
  if (root !== document)
    for (const link of root.querySelectorAll('[href^="#source-"]')) follow(link); // addresses do not reach into a shadow
  for (const element of root.querySelectorAll(".hint")) element.hidden = false;
  panel.classList.add("live");
  show(null);
}

const own = document.getElementById("numbers"); // of a page of its own
if (own) mount(document, JSON.parse(own.textContent));
