// Accessible names. Widgets are drawn without them: name each control after its visible label or its icon,
// and have a screen reader told when an explorer shows another frame.
const ICONS = { play: "Play", pause: "Pause", stop: "Stop", retweet: "Repeat" };

const setAttribute = (element, name, value) => {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
};

const nameSlider = (slider) => {
  // The tooltip, or the label as it was before MathJax typeset it, which makes every symbol double.
  const label = slider.querySelector(".widget-label");
  if (label?.title === "null") label.removeAttribute("title");
  slider.dataset.name ??= label?.title || label?.textContent.replaceAll(/[$\\{}]/g, "").trim() || "Parameter";
  const { name } = slider.dataset;
  for (const handle of slider.querySelectorAll("[role=slider]")) setAttribute(handle, "aria-label", name);
  for (const readout of slider.querySelectorAll("[contenteditable]")) {
    setAttribute(readout, "role", "textbox");
    setAttribute(readout, "aria-label", `${name}, value`);
  }
};

const nameButton = (button) => {
  const icon = button.querySelector("i");
  const asked = icon?.className.match(/\bfa-([a-z-]+)/)?.[1];
  if (asked) {
    // The widget asks for another icon, but Font Awesome looks at no element twice.
    icon.removeAttribute("data-fa-i2svg");
    icon.replaceChildren();
    window.FontAwesome?.dom.i2svg({ node: button });
  }
  const shown = button.querySelector("[data-icon]")?.dataset.icon;
  if (!shown) return;
  const slider = button.closest(".widget-play").previousElementSibling?.dataset.name;
  setAttribute(button, "aria-label", [ICONS[shown] ?? shown, slider].filter(Boolean).join(" "));
};

// On a built page a slider counts frames. Each frame says which values it shows, one for each slider.
const sayValues = (explorer) => {
  const shown = [...explorer.querySelectorAll(".fl-readout")].find((text) => text.getClientRects().length);
  const values = shown ? [...shown.querySelectorAll("[data-fl-value]")] : [];
  explorer.querySelectorAll("[role=slider]").forEach((handle, index) => {
    if (values[index]) setAttribute(handle, "aria-valuetext", values[index].dataset.flValue);
  });
};

const nameWidgets = () => {
  document.querySelectorAll(".widget-slider").forEach(nameSlider);
  document.querySelectorAll(".fl-explorer").forEach(sayValues);
  document.querySelectorAll(".widget-play button").forEach(nameButton);
  // A stack holds only the frame that it shows.
  for (const frame of document.querySelectorAll(".widget-subarea .widget-box > .widget-html")) {
    setAttribute(frame.parentElement, "aria-live", "polite");
  }
};

// The theme's buttons are labelled with less than what they show.
const nameButtonsOfTheTheme = () => {
  document.querySelector(".search-button-field")?.removeAttribute("aria-label");
  document.querySelectorAll(".theme-switch[title]").forEach((icon) => icon.removeAttribute("title"));
};

// Before the deferred scripts run: Font Awesome writes each title into the picture that it draws.
document.addEventListener("readystatechange", nameButtonsOfTheTheme);

document.addEventListener("DOMContentLoaded", () => {
  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      nameWidgets();
    });
  };
  for (const output of document.querySelectorAll(".cell_output")) {
    new MutationObserver(later).observe(output, { attributeFilter: ["class", "aria-valuetext"], childList: true, subtree: true });
  }
});
