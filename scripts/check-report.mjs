#!/usr/bin/env node
/**
 * Opens a report in Chromium at desktop and phone width, light and dark, and fails on what a reader would stumble over:
 * a request that leaves the page, a console message, a page wider than its window, text with a contrast below 4.5:1, a figure
 * that is missing or empty, a download that does not arrive.
 *
 *   node scripts/check-report.mjs report.html [--out DIR]     screenshots go to DIR, default: beside the report
 *
 * Exit codes: 0 every check passed, 1 a check failed, 2 usage, 3 not run because there is no Chromium.
 * CHROMIUM names another binary than /usr/bin/chromium.
 */
import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";

const FIGURES = ["regimes", "excess-entropy", "collapse-cloning", "effective-count", "speciation-cloning", "class-entropy", "spectrum"];
const WIDTHS = { desktop: 1280, phone: 390 };
const SCHEMES = ["light", "dark"];
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const { values, positionals } = parseArgs({ allowPositionals: true, options: { out: { type: "string" } } });
if (positionals.length !== 1 || !existsSync(positionals[0])) {
  console.error("usage: node scripts/check-report.mjs report.html [--out DIR]");
  process.exit(2);
}
const file = path.resolve(positionals[0]);
const out = path.resolve(values.out ?? path.dirname(file));
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
if (!existsSync(executablePath)) {
  console.error("not run: chromium is missing: apt-get install chromium");
  process.exit(3);
}
mkdirSync(out, { recursive: true });

const { chromium } = await import("playwright-core");
const browser = await chromium.launch({ executablePath, args: FLAGS });
const failures = [];
let texts = 0;
let lowest = Number.POSITIVE_INFINITY;
try {
  for (const [device, width] of Object.entries(WIDTHS)) {
    for (const scheme of SCHEMES) {
      const found = await check(device, width, scheme);
      failures.push(...found.problems.map((problem) => `${device}, ${scheme}: ${problem}`));
      texts += found.texts;
      lowest = Math.min(lowest, found.lowest);
    }
  }
} finally {
  await browser.close();
}
for (const failure of failures) console.error(failure);
if (failures.length > 0) {
  console.error(`${path.basename(file)}: ${failures.length} problems; screenshots in ${out}`);
  process.exit(1);
}
console.log(
  `${path.basename(file)}: ok in ${Object.keys(WIDTHS).length} widths and ${SCHEMES.length} schemes; no request, no overflow, ` +
    `${FIGURES.length} figures, ${texts} texts with contrast >= ${lowest.toFixed(2)}; screenshots in ${out}`,
);

async function check(device, width, scheme) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: scheme,
    deviceScaleFactor: device === "phone" ? 2 : 1,
  });
  const page = await context.newPage();
  const address = pathToFileURL(file).href;
  const problems = [];
  page.on("request", (request) => {
    if (request.url() !== address && !request.url().startsWith("data:")) problems.push(`request: ${request.url()}`);
  });
  page.on("console", (message) => problems.push(`console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
  page.on("dialog", async (dialog) => {
    problems.push(`a script ran: dialog "${dialog.message()}"`);
    await dialog.dismiss();
  });
  await page.goto(address, { waitUntil: "load" });
  await page.screenshot({ path: path.join(out, `report-${device}-${scheme}.png`), fullPage: true });
  problems.push(...(await page.evaluate(inspectLayout, FIGURES)));
  const contrast = await page.evaluate(inspectContrast);
  problems.push(...contrast.problems);
  if (device === "desktop" && scheme === "light") problems.push(...(await inspectDownloads(page)));
  await context.close();
  return { problems, texts: contrast.texts, lowest: contrast.lowest };
}

/** Every download has content, drawings open as images of their own, and a click starts it; a link that leaves the page is a problem. */
async function inspectDownloads(page) {
  const problems = [];
  const blank = await page.context().newPage();
  const started = new Set();
  for (const link of await page.locator("a").all()) {
    const href = (await link.getAttribute("href")) ?? "";
    const name = await link.getAttribute("download");
    if (href.startsWith("#")) continue;
    const content = /^data:([a-z/+-]+);charset=utf-8;base64,(.*)$/.exec(href);
    if (name === null || content === null) {
      problems.push(`a link leaves the page: ${href.slice(0, 80)}`);
      continue;
    }
    if (Buffer.from(content[2], "base64").length < 20) problems.push(`download ${name} is empty`);
    if (name.endsWith(".svg")) {
      const width = await blank.evaluate((source) => {
        const image = new Image();
        image.src = source;
        return image.decode().then(
          () => image.naturalWidth,
          () => 0,
        );
      }, href);
      if (width === 0) problems.push(`download ${name} does not open as an image`);
    }
    // One click of each kind: Chromium asks before it takes more than ten downloads of one page.
    const kind = path.extname(name);
    if (started.has(kind)) continue;
    started.add(kind);
    const [download] = await Promise.all([page.waitForEvent("download", { timeout: 5000 }).catch(() => null), link.click()]);
    if (download === null) problems.push(`download of ${name} did not start`);
    else if (download.suggestedFilename() !== name) problems.push(`download of ${name} is called ${download.suggestedFilename()}`);
    else if ((await download.failure()) !== null) problems.push(`download of ${name} failed: ${await download.failure()}`);
  }
  return problems;
}

/** In the page: overflow and figures. Opens every <details> first. */
function inspectLayout(slugs) {
  const problems = [];
  for (const details of document.querySelectorAll("details")) details.open = true;
  const width = document.documentElement.clientWidth;
  const name = (element) =>
    `<${element.tagName.toLowerCase()}${element.id ? ` id=${element.id}` : ""}> "${(element.textContent ?? "").trim().slice(0, 40)}"`;
  if (document.documentElement.scrollWidth > width)
    problems.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${width}`);
  for (const element of document.body.querySelectorAll("*")) {
    if (element.closest(".scroll, thead") !== null && !element.matches(".scroll")) continue;
    const box = element.getBoundingClientRect();
    if (box.width > 0 && (box.right > width + 0.5 || box.left < -0.5))
      problems.push(`out of the window (${box.left.toFixed(0)} to ${box.right.toFixed(0)}): ${name(element)}`);
  }
  for (const slug of slugs) {
    const figure = document.getElementById(`figure-${slug}`);
    if (figure === null) {
      problems.push(`figure ${slug} is missing`);
      continue;
    }
    if (figure.matches(".absent")) {
      if ((figure.querySelector(".status")?.textContent ?? "").trim() === "") problems.push(`figure ${slug} is absent without a reason`);
      continue;
    }
    const drawings = [...figure.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().width > 0);
    if (drawings.length !== 1) problems.push(`figure ${slug} shows ${drawings.length} drawings`);
    for (const svg of drawings) {
      if (svg.getAttribute("role") !== "img" || !svg.getAttribute("aria-label")) problems.push(`figure ${slug} has no text alternative`);
      if (svg.querySelectorAll("path, rect, circle, line").length < 4) problems.push(`figure ${slug} is empty`);
      const frame = svg.getBoundingClientRect();
      const boxes = [...svg.querySelectorAll("text")]
        .map((text) => ({ text: text.textContent, box: text.getBoundingClientRect() }))
        .filter(({ box }) => box.width > 0);
      for (const { text, box } of boxes) {
        if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
          problems.push(`figure ${slug}: "${text}" runs out of the drawing`);
        }
      }
      boxes.forEach((left, i) => {
        for (const right of boxes.slice(i + 1)) {
          const across = Math.min(left.box.right, right.box.right) - Math.max(left.box.left, right.box.left);
          const down = Math.min(left.box.bottom, right.box.bottom) - Math.max(left.box.top, right.box.top);
          if (across > 1 && down > 4) problems.push(`figure ${slug}: "${left.text}" lies over "${right.text}"`);
        }
      });
    }
    if ((figure.querySelector("figcaption")?.textContent ?? "").trim().length < 40) problems.push(`figure ${slug} has no caption`);
  }
  return problems;
}

/** In the page: contrast of every visible text against what is painted under it (WCAG 2.2, relative luminance). */
function inspectContrast() {
  const problems = [];
  let texts = 0;
  let lowest = Number.POSITIVE_INFINITY;
  const colour = (value) => {
    const numbers = /^rgba?\(([^)]*)\)$/
      .exec(value)?.[1]
      .split(/[ ,/]+/)
      .map(Number);
    return numbers === undefined ? null : { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
  };
  const over = (top, alpha, below) => below.map((channel, k) => alpha * top[k] + (1 - alpha) * channel);
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((channel) =>
      channel / 255 <= 0.04045 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  /** What `element` paints at a point, null where it is transparent there. */
  const painted = (element) => {
    const style = getComputedStyle(element);
    const shape = element instanceof SVGElement;
    if (shape && !/^(rect|path|circle)$/.test(element.tagName)) return null;
    const fill = colour(shape ? style.fill : style.backgroundColor);
    if (fill === null) return null;
    const alpha = fill.alpha * (shape ? Number(style.fillOpacity) : 1) * Number(style.opacity);
    return alpha > 0 ? { rgb: fill.rgb, alpha } : null;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (node.data.trim() === "" || parent.closest("title, style") !== null) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const visible = () => [...range.getClientRects()].find(({ width, height }) => width > 1 && height > 1);
    const head = parent.closest("thead");
    if (visible() === undefined || (head !== null && getComputedStyle(head).position === "absolute")) continue;
    parent.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const box = visible();
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const stack = document.elementsFromPoint(x, y).filter((element) => element.closest("text") === null);
    let background = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    for (const element of stack.toReversed()) {
      const paint = painted(element);
      if (paint !== null) background = over(paint.rgb, paint.alpha, background);
    }
    const style = getComputedStyle(parent);
    const ink = colour(parent instanceof SVGElement ? style.fill : style.color);
    if (ink === null) {
      problems.push(`text "${node.data.trim().slice(0, 40)}" has a colour that is not understood: ${style.fill} ${style.color}`);
      continue;
    }
    const [low, high] = [luminance(over(ink.rgb, ink.alpha, background)), luminance(background)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    texts++;
    lowest = Math.min(lowest, ratio);
    if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)} of "${node.data.trim().slice(0, 40)}"`);
  }
  return { problems, texts, lowest };
}
