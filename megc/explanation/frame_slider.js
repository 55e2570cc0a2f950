// Moves the stills and the cursor of a frame slider: by its range input, by its keys, and by dragging over its plot.
(() => {
  const show = (slider, number) => {
    const frames = JSON.parse(slider.dataset.frames), columns = Number(slider.dataset.columns);
    const [label, left, top, height] = frames[number], rows = Math.ceil(frames.length / columns);
    const across = -100 * (number % columns) / columns, down = -100 * Math.floor(number / columns) / rows;
    for (const sheet of slider.querySelectorAll(".still img")) sheet.style.transform = `translate(${across}%, ${down}%)`;
    const cursor = slider.querySelector(".cursor");
    if (cursor) Object.assign(cursor.style, { left: `${left}%`, top: `${top}%`, height: `${height}%` });
    slider.querySelector("output").textContent = label;
    slider.querySelector("input").value = number;
  };
  const follow = event => {
    const plot = event.target.closest?.(".slider .plot");
    if (!plot || (event.type === "pointermove" && !(event.buttons & 1))) return;
    const box = plot.getBoundingClientRect(), slider = plot.closest(".slider");
    const x = 100 * (event.clientX - box.left) / box.width, y = 100 * (event.clientY - box.top) / box.height;
    // the row of the plot that the pointer is in, or the nearest; in it the nearest frame
    const far = ([, left, top, height]) => 1e4 * Math.max(top - y, y - top - height, 0) + Math.abs(left - x);
    const distances = JSON.parse(slider.dataset.frames).map(far);
    show(slider, distances.indexOf(Math.min(...distances)));
  };
  document.addEventListener("input", event => {
    const slider = event.target.closest?.(".slider");
    if (!slider) return;
    show(slider, Number(event.target.value));
    const cursor = slider.querySelector(".cursor"), window = slider.querySelector(".scroll");
    if (cursor) window.scrollLeft = cursor.offsetLeft - window.clientWidth / 2;  // on a telephone the plot is wider
  });
  for (const name of ["pointerdown", "pointermove"]) document.addEventListener(name, follow);
})();
