/**
 * The colours of the page and its figures, for light and dark. Text colours have a contrast of at least 4.5:1 on the page and
 * on the regime tints, lines at least 3:1; neighbouring lines differ in dashes too, so that no reader depends on hue.
 */

/** Name of a colour: a CSS variable of the page, a literal in a downloaded figure. */
export type Colour = keyof typeof LIGHT;

export const LIGHT = {
  page: "#fdfcf9",
  panel: "#f5f3ec",
  ink: "#1c1b19",
  soft: "#5a5751",
  rule: "#dcd8cd",
  measured: "#0a5a9c",
  halo: "#b9d3ea",
  theory: "#a8400f",
  third: "#176d4d",
  link: "#0a5a9c",
  memory: "#f7e6d8",
  class: "#e1ebf4",
  noise: "#efeee9",
  blue: "#0a5a9c",
  orange: "#a8400f",
  green: "#176d4d",
  purple: "#6d3fa0",
  crimson: "#b0124a",
  brown: "#77551a",
  teal: "#0c6c7c",
  olive: "#5d6406",
  magenta: "#9a2d86",
  grey: "#5c5c5c",
} as const;

export const DARK: Readonly<Record<Colour, string>> = {
  page: "#14161a",
  panel: "#1c1f24",
  ink: "#ebe8e2",
  soft: "#aeaaa2",
  rule: "#363a41",
  measured: "#74b6f0",
  halo: "#2c4a66",
  theory: "#f2a068",
  third: "#6fcaa3",
  link: "#8cc2f2",
  memory: "#35261b",
  class: "#1b2a3a",
  noise: "#212429",
  blue: "#74b6f0",
  orange: "#f2a068",
  green: "#6fcaa3",
  purple: "#c3a2ee",
  crimson: "#f58aa8",
  brown: "#d8b378",
  teal: "#6fd0e0",
  olive: "#c3cc66",
  magenta: "#ec96dc",
  grey: "#b8b8b8",
};

/** Ten colours for classes, in this order; from the eleventh class on they repeat. */
export const CLASS_COLOURS: readonly Colour[] = ["blue", "orange", "green", "purple", "crimson", "brown", "teal", "olive", "magenta", "grey"];

/** The colour as a figure inside the page names it. */
export function paint(colour: Colour): string {
  return `var(--${colour})`;
}

/** Replaces the variables of a figure by the colours for paper: a program that opens the file has no style sheet. */
export function onPaper(svg: string): string {
  return svg.replace(/var\(--([a-z]+)\)/g, (variable, name: string) => LIGHT[name as Colour] ?? variable);
}

/** The palette as CSS declarations of variables. */
export function cssVariables(colours: Readonly<Record<Colour, string>>): string {
  return Object.entries(colours)
    .map(([name, value]) => `--${name}:${value};`)
    .join("");
}
