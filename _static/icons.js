// Font Awesome replaces <i> elements by pictures. The Play widget keeps and changes its <i> elements:
// nest the picture inside instead. Read when the theme loads Font Awesome, so it must be set before.
window.FontAwesomeConfig = { autoReplaceSvg: "nest" };
