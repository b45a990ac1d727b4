// Puts the parts of the page together once the answers are unpacked.

// Where motion is unwelcome, the first frame of each picture stands still.
function stopPictures() {
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const image of document.querySelectorAll(".mistakes img")) {
    image.loading = "eager";
    image.decode().then(() => {
      const { naturalWidth: width, naturalHeight: height, alt } = image;
      const canvas = make("canvas", { width, height, role: "img", "aria-label": alt });
      canvas.getContext("2d").drawImage(image, 0, 0);
      image.replaceWith(canvas);
    });
  }
}

async function start() {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  printWhole();
  stopPictures();
  const part = (id) => document.getElementById(id);
  if (part("packed-answers")) {
    const answers = await unpacked("packed-answers");
    const matrix = part("whole-matrix") ? new ConfusionMatrix(answers, part("confusion")) : null;
    new ClassTable(answers, part("classes"), matrix && ((place) => matrix.show(place)));
    for (const row of matrix ? document.querySelectorAll("#pairs tbody tr") : []) {
      const [right, answered] = [...row.cells].map(({ textContent }) => answers.glosses.indexOf(textContent));
      const button = make("button", { type: "button", onclick: () => matrix.show(right, answered) }, ...row.cells[1].childNodes);
      row.cells[1].append(button);
      if (row === row.parentElement.rows[0]) matrix.show(right, answered, false);
    }
  }
  document.body.dataset.ready = "true";
}

start();
