/* Shows what a reference leads to, beside it, while a mouse rests on it or the keyboard is on it.

   It stays while the mouse is on the link or on what is shown, goes away with Escape, and takes no part in the
   layout (WCAG 2.2, 1.4.13). The texts of a page come from _static/previews/<page>.js, on the first need; those of
   entries and sections begin with a paragraph of the class fl-preview-title. */
"use strict";
(() => {
  const LINKS = ".bd-article a[href*='#']:not(.headerlink)";
  const SHOW_AFTER = 200; // milliseconds: a mouse that passes over links shows nothing
  const HIDE_AFTER = 300; // time to move from the link to what is shown
  const GAP = 8; // pixels
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href).href;
  const pages = {};
  window.flPreviews = {};

  let link = null; // whose preview is shown, or about to be
  let dismissed = null; // with Escape, until the mouse and the focus are elsewhere
  let timer = 0;
  const box = document.createElement("div");
  box.id = "fl-preview";
  box.className = "fl-preview";
  box.setAttribute("role", "tooltip");
  box.hidden = true;

  const load = (page) =>
    (pages[page] ??= new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = `${root}_static/previews/${page}.js`;
      script.onload = script.onerror = () => resolve(window.flPreviews[page] ?? {});
      document.head.append(script);
    }));

  const text = async (anchor) => {
    const [address, id] = anchor.href.split("#");
    if (!address.startsWith(root) || !id) return null;
    const page = decodeURIComponent(address.slice(root.length).split("?")[0]).replace(/\.html$/, "");
    return (await load(page))[decodeURIComponent(id)] ?? null;
  };

  const place = () => {
    const lines = link.getClientRects();
    const [above, below] = [lines[0], lines[lines.length - 1]];
    const room = { above: above.top - 2 * GAP, below: innerHeight - below.bottom - 2 * GAP };
    box.style.maxHeight = "";
    const under = box.offsetHeight <= room.below || room.below >= room.above;
    box.style.maxHeight = `${under ? room.below : room.above}px`;
    box.classList.toggle("fl-preview-cut", box.scrollHeight > box.clientHeight + 1);
    const top = under ? below.bottom + GAP : above.top - GAP - box.offsetHeight;
    const widest = document.documentElement.clientWidth - box.offsetWidth - GAP;
    const left = Math.max(GAP, Math.min((under ? below : above).left, widest));
    box.style.top = `${top + scrollY}px`;
    box.style.left = `${left + scrollX}px`;
  };

  const hide = () => {
    clearTimeout(timer);
    if (!box.hidden) link?.removeAttribute("aria-describedby");
    box.hidden = true;
    link = null;
  };

  const show = async () => {
    const wanted = link;
    const markup = await text(wanted);
    if (link !== wanted || !markup) return;
    wanted.removeAttribute("title"); // the browser's own note would lie on top
    box.innerHTML = markup;
    if (!box.isConnected) document.body.append(box);
    box.hidden = false;
    place();
    wanted.setAttribute("aria-describedby", box.id);
  };

  const focused = () => link !== null && link === document.activeElement && link.matches(":focus-visible");

  const want = (anchor, delay) => {
    clearTimeout(timer);
    if (anchor === dismissed || (anchor === link && !box.hidden)) return;
    hide();
    link = anchor;
    timer = setTimeout(show, delay);
  };

  const leave = () => {
    clearTimeout(timer);
    if (!focused()) timer = setTimeout(hide, HIDE_AFTER);
  };

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return; // a finger goes where the link leads
    const anchor = event.target.closest?.(LINKS);
    if (anchor) want(anchor, SHOW_AFTER);
    else if (box.contains(event.target)) clearTimeout(timer);
  });
  document.addEventListener("pointerout", (event) => {
    const to = event.relatedTarget;
    if (dismissed?.contains(event.target) && !dismissed.contains(to)) dismissed = null;
    if (link === null || event.pointerType === "touch") return;
    if (!link.contains(to) && !box.contains(to)) leave();
  });
  document.addEventListener("focusin", (event) => {
    const anchor = event.target.closest?.(LINKS);
    if (anchor?.matches(":focus-visible")) want(anchor, 0);
  });
  document.addEventListener("focusout", (event) => {
    if (dismissed === event.target) dismissed = null;
    if (link === event.target && !link.matches(":hover") && !box.matches(":hover")) hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || link === null) return;
    dismissed = link.matches(":hover, :focus") ? link : null;
    hide();
  });
  document.addEventListener("click", (event) => {
    if (!box.contains(event.target)) hide();
  });
  addEventListener("resize", hide);
})();
