/**
 * A strict scanner for the textual headers of .npy (a Python literal) and safetensors (JSON). It knows only what such headers may
 * contain, so that memory stays proportional to what is accepted and nothing nests: hostile headers end in E_HEADER at once.
 */
import { RegimesError, printable } from "../errors.js";

export class HeaderScanner {
  private readonly what: string;
  private readonly text: string;
  private position = 0;

  constructor(what: string, text: string) {
    this.what = what;
    this.text = text;
  }

  /** The next character that is not white space, "" at the end; not consumed. */
  peek(): string {
    while (this.position < this.text.length && " \t\r\n".includes(this.text[this.position]!)) this.position++;
    return this.text[this.position] ?? "";
  }

  /** Consumes `character` if it comes next. */
  take(character: string): boolean {
    if (this.peek() !== character) return false;
    this.position++;
    return true;
  }

  expect(character: string): void {
    if (!this.take(character)) this.fail(`"${character}"`);
  }

  /** A string between any of the given quotes; JSON escapes are understood between double quotes. */
  quoted(quotes: string): string {
    const quote = this.peek();
    if (quote === "" || !quotes.includes(quote)) this.fail("a quoted string");
    const start = this.position++;
    let escaped = false;
    for (; this.text[this.position] !== quote; this.position++) {
      if (this.position >= this.text.length) this.fail("the end of a quoted string");
      if (this.text[this.position] === "\\") {
        escaped = true;
        this.position++;
      }
    }
    this.position++;
    const inside = this.text.slice(start + 1, this.position - 1);
    if (!escaped) return inside;
    try {
      return String(JSON.parse(`"${inside}"`));
    } catch {
      return this.fail("a string with JSON escapes");
    }
  }

  /** One of the given words. */
  word<T extends string>(words: readonly T[]): T {
    this.peek();
    for (const word of words) {
      if (!this.text.startsWith(word, this.position)) continue;
      this.position += word.length;
      return word;
    }
    return this.fail(words.join(" or "));
  }

  /** A whole number of at least 0 that float64 holds exactly. */
  size(): number {
    this.peek();
    const start = this.position;
    while (this.text.charCodeAt(this.position) >= 48 && this.text.charCodeAt(this.position) <= 57) this.position++;
    if (this.position === start) this.fail("a whole number, not negative");
    const value = Number(this.text.slice(start, this.position));
    if (!Number.isSafeInteger(value)) {
      const digits = this.text.slice(start, Math.min(this.position, start + 40));
      throw new RegimesError("E_HEADER", `${this.what}: ${digits} in the header is beyond 2^53`);
    }
    return value;
  }

  /** Sizes between brackets, a comma after the last one allowed; Python 2 wrote an L after each. */
  sizes(open: string, close: string): number[] {
    const values: number[] = [];
    this.expect(open);
    while (!this.take(close)) {
      if (values.length === 64) this.fail(`"${close}" after at most 64 numbers`);
      values.push(this.size());
      if (open === "(") this.take("L");
      if (this.take(",")) continue;
      this.expect(close);
      break;
    }
    return values;
  }

  /** What is left, unread. */
  rest(): string {
    return this.text.slice(this.position);
  }

  end(): void {
    if (this.peek() !== "") this.fail("the end of the header");
  }

  fail(expected: string): never {
    const found = this.position < this.text.length ? `"${printable(this.text.slice(this.position, this.position + 24))}"` : "its end";
    throw new RegimesError("E_HEADER", `${this.what}: header character ${this.position}: expected ${expected}, found ${found}`);
  }
}
