// Explorers of a built page: sliders choose among frames that were computed with the book.
// Listeners sit on the document, so that nothing is done before a reader asks for it.
(() => {
  const states = new WeakMap();
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  // Frames and parts of an explorer; the data are read at the first touch.
  const stateOf = (box) => {
    if (!states.has(box)) {
      states.set(box, {
        ...JSON.parse(box.querySelector('script[type="application/json"]').textContent),
        inputs: [...box.querySelectorAll('input[type="range"]')],
        readout: box.querySelector(".fl-readout > [aria-live]"),
        picture: box.querySelector(".fl-picture"),
      });
    }
    return states.get(box);
  };

  const show = (state) => {
    let index = 0;
    state.inputs.forEach((input, k) => {
      index = index * state.texts[k].length + Number(input.value);
      input.setAttribute("aria-valuetext", state.texts[k][input.value]);
    });
    const [words, pieces] = state.frames[index];
    state.readout.innerHTML = words;
    state.picture.innerHTML = pieces.map((piece) => state.pieces[piece]).join("");
  };

  const move = (state, input, value) => {
    input.value = value;
    show(state);
  };

  const stop = (state) => {
    if (!state.playing) return;
    clearInterval(state.playing.timer);
    state.playing.button.classList.remove("fl-playing");
    state.playing.name.textContent = "Play";
    state.playing = null;
    state.readout.setAttribute("aria-live", "polite");
    state.readout.innerHTML = state.readout.innerHTML; // says where it stopped
  };

  const press = (button) => {
    const state = stateOf(button.closest(".fl-explorer"));
    const input = button.closest(".fl-control").querySelector("input");
    const last = Number(input.max);
    if (still.matches) {
      stop(state);
      move(state, input, (Number(input.value) + 1) % (last + 1));
      return;
    }
    const same = state.playing?.button === button;
    stop(state);
    if (same) return;
    if (Number(input.value) === last) move(state, input, 0);
    const name = button.querySelector(".fl-run");
    name.textContent = "Pause";
    button.classList.add("fl-playing");
    state.readout.setAttribute("aria-live", "off"); // a voice cannot keep up
    const timer = setInterval(() => {
      move(state, input, Number(input.value) + 1);
      if (Number(input.value) === last) stop(state);
    }, Math.max(300, Math.min(900, 9000 / last)));
    state.playing = { button, name, timer };
  };

  document.addEventListener("input", (event) => {
    const box = event.target.closest?.(".fl-explorer");
    if (!box) return;
    stop(stateOf(box));
    show(stateOf(box));
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".fl-explorer .fl-play");
    if (button) press(button);
  });
})();
