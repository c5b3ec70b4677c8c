/**
 * Text on its way into files that other programs interpret: the page, its downloads, spreadsheets. Data sets name themselves,
 * so every name is hostile until it went through here: `html` escapes whatever it interpolates unless it is `Markup` already.
 */

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/**
 * The one escape function, for text and for quoted attributes alike. Control characters and those that turn the reading
 * direction (which can make one file name look like another) become visible as \u{hex}; tab and newline stay.
 */
export function escapeHtml(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Bidi_Control}]/gu, (sign) => (sign === "\n" || sign === "\t" ? sign : `\\u{${sign.codePointAt(0)!.toString(16)}}`))
    .replace(/[&<>"']/g, (sign) => ENTITIES[sign]!);
}

/** A piece of the page that is markup already: made by `html`, or by `trusted` from text of our own. */
export class Markup {
  readonly #html: string;

  constructor(html: string) {
    this.#html = html;
  }

  toString(): string {
    return this.#html;
  }
}

/** Markup of our own making (drawings, the style sheet). Never pass it anything that came with the data. */
export function trusted(markup: string): Markup {
  return new Markup(markup);
}

/** Template tag: strings are escaped, markup and lists of markup are inserted as they are. Numbers are formatted first, by numbers.ts. */
export function html(parts: TemplateStringsArray, ...values: readonly (string | Markup | readonly Markup[])[]): Markup {
  let page = parts[0]!;
  values.forEach((value, k) => {
    page += typeof value === "string" ? escapeHtml(value) : Array.isArray(value) ? value.join("") : String(value);
    page += parts[k + 1]!;
  });
  return new Markup(page);
}

/** Symbols that estimators spell in ASCII. */
const SYMBOLS: Readonly<Record<string, string>> = {
  alpha: "\u03b1",
  kappa: "\u03ba",
  pi: "\u03c0",
  phi: "\u03c6",
  sigma: "\u03c3",
  Lambda: "\u039b",
  "&lt;=": "\u2264",
  "&gt;=": "\u2265",
};

/**
 * Prose of the estimators (`method`, `status`) and of the captions: escaped, with t_S, phi_C, e^{..}, *t* and
 * the like set as mathematics.
 * What a data set named goes through `html` alone.
 */
export function prose(text: string): Markup {
  return new Markup(
    escapeHtml(text)
      .replace(/\bsum_(\p{L})/gu, "\u03a3<sub>$1</sub>")
      .replace(/\^(\d)/g, "<sup>$1</sup>")
      .replace(/\b(?:alpha|kappa|pi|phi|sigma|Lambda)(?![a-z-])|&[lg]t;=/g, (word) => SYMBOLS[word]!)
      .replace(/(?<![\p{L}\d_])(\p{L})_(\p{L}+|\d+)/gu, "<i>$1</i><sub>$2</sub>")
      .replace(/\^\{([^{}]*)\}/g, "<sup>$1</sup>")
      .replace(/\*([^*\s]+)\*/g, "<i>$1</i>"),
  );
}

/**
 * Comma-separated values by RFC 4180. Numbers are written so that they read back the same, null as an empty cell; a text
 * that a spreadsheet would run as a formula (it begins with = + - @, tab or carriage return) gets an apostrophe in front.
 */
export function csv(header: readonly string[], rows: readonly (readonly (string | number | null)[])[]): string {
  const cell = (value: string | number | null): string => {
    if (value === null) return "";
    if (typeof value === "number") return String(value);
    const inert = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
  };
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** `content` as an address that opens offline, for downloads. */
export function dataUrl(mediaType: string, content: string): string {
  return `data:${mediaType};charset=utf-8;base64,${Buffer.from(content, "utf8").toString("base64")}`;
}
