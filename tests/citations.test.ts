import { describe, expect, it } from "vitest";
import { citationKeys, citationsFor, restsOn } from "../lib/citations.js";
import { RegimesError } from "../lib/errors.js";
import { processNames, processByName } from "../lib/process.js";

/** Minimal reader of BibTeX: entries with balanced braces. */
function parse(bibtex: string): { type: string; key: string; fields: Record<string, string> }[] {
  return bibtex.split(/^(?=@)/m).map((entry) => {
    const [, type, key, body] = entry.match(/^@(\w+)\{([^,\s]+),\n([\s\S]*)\}\n*$/)!;
    const lines = body!.trimEnd().split(/,\n/).map((line) => line.replace(/,$/, ""));
    return { type: type!, key: key!, fields: Object.fromEntries(lines.map((line) => line.match(/^ {2}(\w+) = \{(.*)\}$/)!.slice(1, 3))) };
  });
}

describe("citationsFor", () => {
  it("gives every work as a BibTeX entry with author, year and a place to find it", () => {
    const entries = parse(citationsFor(citationKeys));
    expect(entries.map(({ key }) => key)).toEqual(citationKeys);
    for (const { type, key, fields } of entries) {
      expect(["article", "inproceedings", "misc"]).toContain(type);
      expect(fields["author"]).toMatch(/^\p{L}/u);
      expect(key).toContain(fields["year"]);
      const place = fields["doi"] ?? fields["eprint"] ?? fields["url"] ?? fields["pages"];
      expect(place).toBeDefined();
      const required = { article: "journal", inproceedings: "booktitle", misc: "author" }[type]!;
      expect(fields).toHaveProperty(required);
    }
  });

  it("has balanced braces and plain ASCII, so that every BibTeX reads it", () => {
    const text = citationsFor(citationKeys);
    expect(text).toMatch(/^[\n\x20-\x7e]*$/);
    expect(text.split("{").length).toBe(text.split("}").length);
  });

  it("names the paper of the regimes with its DOI", () => {
    const [biroli] = parse(citationsFor(["biroli2024"]));
    const place = { journal: "Nature Communications", volume: "15", pages: "9957", doi: "10.1038/s41467-024-54281-3" };
    expect(biroli!.fields).toMatchObject(place);
  });

  it("gives each work once, in the order of first mention", () => {
    expect(parse(citationsFor(["ho2020", "biroli2024", "ho2020"])).map(({ key }) => key)).toEqual(["ho2020", "biroli2024"]);
    expect(citationsFor([])).toBe("");
  });

  it("refuses an unknown key and names the nearest", () => {
    expect(() => citationsFor(["biroli2023"])).toThrow(RegimesError);
    expect(() => citationsFor(["biroli2023"])).toThrow(/^E_OPTION .*"biroli2024"/);
    expect(() => citationsFor(["toString"])).toThrow(/^E_OPTION/);
  });
});

describe("restsOn", () => {
  it("has works for every process, and every work is used", () => {
    expect(Object.keys(restsOn)).toEqual(expect.arrayContaining(processNames.map((name) => processByName(name).name)));
    expect(new Set(Object.values(restsOn).flat())).toEqual(new Set(citationKeys));
  });
});
