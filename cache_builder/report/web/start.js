// Puts the page together once the clips are unpacked.

async function start() {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  printWhole();
  const clips = await unpacked("packed-clips");
  const pictures = new Pictures(clips, JSON.parse(document.getElementById("packed-pictures").textContent));
  const part = (id) => document.getElementById(id);
  const told = part("chosen");
  let filter = null;
  const choose = (gloss) => filter.set({ gloss: `"${gloss}"` });
  const classes = new Classes(clips, pictures, part("classes-here"), choose);
  const matrix = part("matrix-here") ? new CoverageMatrix(clips, part("matrix-here"), choose) : null;
  const list = new ClipList(clips, pictures, part("clips-here"));
  const changed = () => {
    const chosen = filter.chosen();
    const glosses = filter.glosses();
    const numClasses = classes.show(chosen, glosses, filter.isNarrowed);
    matrix?.show(chosen, glosses);
    list.show(chosen);
    told.textContent = `${counted(chosen.length, "clip")} of ${counted(numClasses, "class", "classes")}`;
  };
  filter = new Filter(clips, part("filter"), changed);
  for (const pair of document.querySelectorAll("[data-pair]")) {
    const both = pair.dataset.pair.split(" ").map(Number).filter((clip) => pictures.has(clip));
    pair.append(...both.map((clip) => pictures.figure(clip, make("em", {}, nameOf(clips, "gloss", clip)))));
  }
  changed();
  addEventListener("hashchange", () => {
    if (!filter.followAddress()) return;
    changed();
    part("clips").scrollIntoView();
  });
  document.body.dataset.ready = "true";
}

start();
