"use strict";
(() => {
  const FRAME_MS = 160;
  const get = (id) => document.getElementById(id);
  const films = JSON.parse(get("page-data").textContent).films;

  // Enlarged here, since browsers enlarge a picture of few pixels with visible seams.
  function enlarge(canvas, film, source) {
    canvas.width = film.width * film.scale;
    canvas.height = film.height * film.scale;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = !get("pixels").checked;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
  }

  // Of the sheet, the left half has what a frame adds to the one before it, the right what it removes.
  function step(context, film, path, place) {
    const { width, height, columns } = film;
    const x = (place % columns) * width;
    const y = Math.floor(place / columns) * height;
    const parts = [["lighter", x], ["difference", x + columns * width]];
    for (const [operation, left] of parts) {
      context.globalCompositeOperation = operation;
      context.drawImage(path.image, left, y, width, height, 0, 0, width, height);
    }
  }

  // A frame is the film and every step up to it.
  function draw(canvas, film, path, place) {
    const context = path.frame.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(get(`film-${film.number}-image`), 0, 0);
    for (let at = 1; at <= place; at += 1) step(context, film, path, at);
    enlarge(canvas, film, path.frame);
    canvas.dataset.frame = film.numbers[place];
  }

  function words(film, path, place) {
    const number = film.numbers[place];
    const where = number === path.stop ? ", at its stop" : number > path.stop ? ", beyond its stop" : "";
    return `f ${path.f[place]}, h ${path.h[place]}${where}`;
  }

  function mark(film, path, index, place) {
    const id = `film-${film.number}-curve-${index}`;
    get(`${id}-now`).setAttribute("d", `M${path.x[place]} 12V138`);
    for (const [name, heights] of [["f", path.yf], ["h", path.yh]]) {
      get(`${id}-${name}`).setAttribute("cx", path.x[place]);
      get(`${id}-${name}`).setAttribute("cy", heights[place]);
    }
  }

  function show(film, place) {
    const id = `film-${film.number}`;
    const said = `frame ${film.numbers[place]} of ${film.last}, f: ${film.paths[0].f[place]} positive`;
    get(`${id}-output`).textContent = said;
    get(`${id}-frame`).setAttribute("aria-valuetext", said);
    film.paths.forEach((path, at) => {
      get(`${id}-says-${at + 1}`).textContent = words(film, path, place);
      mark(film, path, at + 1, place);
      if (path.image) draw(get(`${id}-canvas-${at + 1}`), film, path, place);
    });
  }

  function redraw(film) {
    const id = `film-${film.number}`;
    enlarge(get(`${id}-canvas-0`), film, get(`${id}-image`));
    show(film, Number(get(`${id}-frame`).value));
  }

  // Sheets are decoded when their film comes near, not all at once.
  async function load(film) {
    if (film.loading) return;
    film.loading = true;
    const id = `film-${film.number}`;
    await get(`${id}-image`).decode();
    await Promise.all(film.paths.map(async (path, at) => {
      const image = new Image();
      image.src = path.sheet;
      await image.decode();
      path.image = image;
      path.frame = document.createElement("canvas");
      path.frame.width = film.width;
      path.frame.height = film.height;
      get(`${id}-canvas-${at + 1}`).hidden = false;
      get(`${id}-still-${at + 1}`).classList.add("covered");
    }));
    film.ready = true;
    redraw(film);
    get(`${id}-canvas-0`).hidden = false;
    get(id).dataset.ready = "true";
  }

  // What a button says, and what it is called by those who do not see it.
  function nameButton(film, word) {
    const button = get(`film-${film.number}-play`);
    button.textContent = word;
    button.setAttribute("aria-label", button.getAttribute("aria-label").replace(/^\w+/, word));
  }

  function pause(film) {
    clearInterval(film.timer);
    film.timer = null;
    nameButton(film, "Play");
    get(`film-${film.number}-output`).setAttribute("aria-live", "polite");
  }

  function play(film, slider) {
    const last = Number(slider.max);
    if (Number(slider.value) === last) slider.value = 0;
    nameButton(film, "Pause");
    // A reader that speaks every frame would never end.
    get(`film-${film.number}-output`).setAttribute("aria-live", "off");
    show(film, Number(slider.value));
    film.timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show(film, Number(slider.value));
      if (Number(slider.value) === last) pause(film);
    }, FRAME_MS);
  }

  function listen(film) {
    const id = `film-${film.number}`;
    const slider = get(`${id}-frame`);
    slider.addEventListener("input", () => {
      if (film.timer) pause(film);
      load(film);
      show(film, Number(slider.value));
    });
    get(`${id}-play`).addEventListener("click", () => {
      load(film);
      if (film.timer) pause(film);
      else play(film, slider);
    });
    const opacity = get(`${id}-opacity`);
    const fade = () => {
      get(`${id}-overlay`).style.opacity = opacity.value / 100;
      opacity.setAttribute("aria-valuetext", `${opacity.value}%`);
    };
    opacity.addEventListener("input", fade);
    fade();
    for (const box of document.querySelectorAll(`#${id} input[data-mask]`)) {
      const toggle = () => {
        for (const edge of document.querySelectorAll(`#${id}-outlines .${box.dataset.mask}`)) {
          edge.classList.toggle("off", !box.checked);
        }
      };
      box.addEventListener("change", toggle);
      toggle();
    }
    show(film, Number(slider.value)); // a browser may have kept the slider where it was
  }

  document.documentElement.classList.add("scripted");
  const showPixels = () => {
    document.documentElement.classList.toggle("pixelated", get("pixels").checked);
    films.filter((film) => film.ready).forEach(redraw);
  };
  get("pixels").addEventListener("change", showPixels);
  showPixels(); // a browser may have kept the box as it was
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) load(films[entry.target.dataset.place]);
    }
  }, { rootMargin: "800px" });
  films.forEach((film, place) => {
    listen(film);
    const article = get(`film-${film.number}`);
    article.dataset.place = place;
    near.observe(article);
  });
})();
