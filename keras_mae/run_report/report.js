// Tells the numbers under the pointer, changes scales, moves the slider, and copies command lines.
// Without it the page shows the last numbers and the last picture.

for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const reading = figure.querySelector(".reading"), before = reading.textContent;
  const pictures = [...figure.querySelectorAll("svg.chart")];
  let at = data.x.length - 1;

  const show = place => {
    at = place;
    reading.textContent = data.texts[at];
    for (const line of figure.querySelectorAll(".cursor")) {
      line.setAttribute("x1", data.x[at]);
      line.setAttribute("x2", data.x[at]);
    }
  };
  const leave = () => {
    reading.textContent = before;
    for (const line of figure.querySelectorAll(".cursor")) line.setAttribute("x1", -9), line.setAttribute("x2", -9);
  };
  for (const picture of data.x.length ? pictures : []) {
    const under = event => {
      const box = picture.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * picture.viewBox.baseVal.width;
      let nearest = 0;
      data.x.forEach((place, i) => { if (Math.abs(place - x) < Math.abs(data.x[nearest] - x)) nearest = i; });
      show(nearest);
    };
    picture.addEventListener("pointermove", under);
    picture.addEventListener("pointerdown", under);
    picture.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") leave(); });
    picture.addEventListener("blur", leave);
    picture.addEventListener("keydown", event => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      show(Math.min(Math.max(at + steps[event.key], 0), data.x.length - 1));
    });
  }

  const button = figure.querySelector(".scale");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      for (const picture of pictures) picture.toggleAttribute("hidden");
      const shown = pictures.find(picture => !picture.hasAttribute("hidden")).dataset.scale;
      button.textContent = shown === "log" ? "linear scale" : "logarithmic scale";
    });
  }
}

for (const slides of document.querySelectorAll(".slides")) {
  const pictures = [...slides.querySelectorAll("figure")], bar = slides.querySelector(".slider");
  if (!bar) continue;
  const input = bar.querySelector("input"), told = bar.querySelector("output");
  const show = () => {
    pictures.forEach((picture, i) => { picture.hidden = i !== Number(input.value); });
    told.textContent = pictures[input.value].dataset.name;
    input.setAttribute("aria-valuetext", told.textContent);
  };
  bar.hidden = false;
  input.addEventListener("input", show);
  show();
}

for (const block of document.querySelectorAll(".command")) {
  const button = block.querySelector("button"), code = block.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
document.body.dataset.ready = "yes";
