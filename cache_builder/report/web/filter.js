// Which clips are chosen: a form above the lists, kept in the page's address so that a link shows the same clips.

const COLUMNS = ["signer", "view", "split", "source"];

class Filter {
  constructor(clips, form, changed) {
    this.clips = clips;
    this.changed = changed;
    this.controls = { gloss: make("input", { type: "search", id: "gloss", placeholder: '왼쪽, ㅇㅉ, "3.1절"', autocomplete: "off" }) };
    for (const column of COLUMNS) {
      const { names } = clips[column];
      if (names.length > 1) this.controls[column] = this.select(names.map((name, code) => [code, shown(name)]));
    }
    const found = clips.findings.map(({ title, rows }, place) => [place, rows.length ? title : null]);
    this.controls.finding = this.select([["failed", "failed clips"], ...found.filter(([, title]) => title)]);
    for (const [name, control] of Object.entries(this.controls)) {
      control.id = `by-${name}`;
      form.append(make("label", { for: control.id, class: `by-${name}` }, wordOf(name), control));
    }
    form.append(make("button", { type: "reset" }, "Show all"));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.apply());
    form.addEventListener("reset", () => setTimeout(() => this.apply()));
    this.followAddress();
  }

  select(options) {
    const all = make("option", { value: "" }, wordOf("all"));
    return make("select", {}, all, ...options.map(([value, text]) => make("option", { value }, text)));
  }

  set(values) {
    for (const [name, control] of Object.entries(this.controls)) control.value = values[name] ?? "";
    this.apply();
  }

  followAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const known = Object.keys(this.controls).filter((name) => wanted.has(name));
    if (!known.length) return false;
    const values = {};
    for (const name of known) values[name] = this.valueOf(name, wanted.get(name));
    for (const [name, control] of Object.entries(this.controls)) control.value = values[name] ?? "";
    return true;
  }

  // In an address columns are named by their names, which outlive another order; the form has their codes.
  valueOf(name, text) {
    if (!COLUMNS.includes(name)) return text;
    const code = this.clips[name].names.findIndex((known) => shown(known) === text);
    return code < 0 ? "" : String(code);
  }

  textOf(name, value) {
    return COLUMNS.includes(name) ? shown(this.clips[name].names[Number(value)]) : value;
  }

  apply() {
    const address = new URLSearchParams();
    for (const [name, { value }] of Object.entries(this.controls)) if (value) address.set(name, this.textOf(name, value));
    history.replaceState(null, "", `#${address}`);
    this.changed();
  }

  // Whether clips are chosen by something else than their gloss.
  get isNarrowed() {
    return Object.entries(this.controls).some(([name, { value }]) => name !== "gloss" && value);
  }

  // Places of the glosses that are meant, a byte each.
  glosses() {
    const matches = glossMatcher(this.controls.gloss.value);
    return Uint8Array.from(this.clips.gloss.names, (gloss) => matches(shown(gloss)));
  }

  // The chosen clips, in their order.
  chosen() {
    const { clips, controls } = this;
    const glosses = this.glosses();
    const wanted = COLUMNS.filter((column) => controls[column]?.value);
    const codes = wanted.map((column) => [clips[column].codes, Number(controls[column].value)]);
    const found = controls.finding.value;
    const all = found && found !== "failed" ? clips.findings[Number(found)]?.rows ?? [] : clips.position.keys();
    const chosen = [];
    for (const clip of all) {
      if (!glosses[clips.gloss.codes[clip]]) continue;
      if (found === "failed" && clips.ok[clip]) continue;
      if (codes.every(([column, code]) => column[clip] === code)) chosen.push(clip);
    }
    return chosen;
  }
}
