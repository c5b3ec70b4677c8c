/** The style sheet of the page. The fonts are those of the reader's system; nothing is loaded. */
import { DARK, LIGHT, cssVariables } from "./palette.js";

const SERIF =
  "'Iowan Old Style', 'Palatino Linotype', Palatino, 'URW Palladio L', P052, 'Source Serif 4', Charter, 'Liberation Serif', Georgia, serif";
const SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif";
const MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace";

export const STYLE: string = `
:root{color-scheme:light dark;${cssVariables(LIGHT)}--serif:${SERIF};--sans:${SANS};--mono:${MONO}}
@media (prefers-color-scheme:dark){:root{${cssVariables(DARK)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:1.125rem/1.55 var(--serif);font-variant-numeric:oldstyle-nums;
text-rendering:optimizeLegibility}
main{max-width:69rem;margin:0 auto;padding:3.5rem 1.5rem 5rem}
h1,h2,h3,p,figure,table,dl,pre{margin:0}
h1,.name{overflow-wrap:anywhere}
h1{font-size:2.5rem;line-height:1.15;font-weight:600;letter-spacing:-.01em}
h2{font-size:1.65rem;line-height:1.25;font-weight:600;margin:4.5rem 0 .5rem;padding-top:1.1rem;border-top:1px solid var(--rule)}
h3{font-size:1.2rem;line-height:1.3;font-weight:600}
.kicker{font:600 .8rem/1.4 var(--sans);letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin-bottom:.6rem}
.lede{font-size:1.45rem;line-height:1.45;max-width:44rem;margin-top:1.1rem}
.prose{max-width:41rem;color:var(--ink)}
.prose+.prose{margin-top:.8rem}
sub,sup{font-size:.72em;line-height:0}
a{color:var(--link);text-decoration-thickness:1px;text-underline-offset:.18em}
a:focus-visible,summary:focus-visible,.scroll:focus-visible,pre:focus-visible{outline:2px solid var(--link);outline-offset:3px}
svg{display:block;width:100%;height:auto}
svg text{white-space:pre;font-variant-numeric:lining-nums tabular-nums}
svg.narrow{display:none}
.timeline{margin-top:2.2rem}
figcaption{font-size:1rem;line-height:1.5}
.timeline figcaption{max-width:46rem;color:var(--soft);margin-top:.6rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:1.2rem 1.5rem;
margin-top:2.6rem;padding-top:1.3rem;border-top:1px solid var(--rule)}
.facts dt{font:.8rem/1.4 var(--sans);color:var(--soft)}
.facts dd{margin:.1rem 0 0;font-size:1.5rem;line-height:1.25;font-variant-numeric:lining-nums}
.facts dd small{display:block;font:.8rem/1.4 var(--sans);color:var(--soft)}
.warnings{margin-top:2.2rem;padding:1rem 1.3rem;background:var(--panel);border-left:4px solid var(--theory);max-width:46rem}
.warnings ul{margin:.4rem 0 0;padding-left:1.1rem;overflow-wrap:anywhere}
.chart{display:grid;grid-template-columns:minmax(0,40rem) minmax(15rem,1fr);gap:.4rem 2.8rem;align-items:start;margin-top:3rem}
.chart figcaption{grid-column:2;padding-top:.1rem}
.chart .drawing{grid-column:1;grid-row:1}
.chart h3{margin-bottom:.5rem}
.ordinal{color:var(--soft);font-weight:400}
.absent{margin-top:3rem;max-width:41rem}
.status{color:var(--soft);font-style:italic}
.downloads{margin-top:.7rem;font:.85rem/1.5 var(--sans)}
.downloads a+a{margin-left:.9rem}
.scroll{overflow-x:auto;margin-top:1.5rem}
table{border-collapse:collapse;width:100%;font:.9rem/1.45 var(--sans);font-variant-numeric:lining-nums tabular-nums}
caption{text-align:left;font:.85rem/1.4 var(--sans);color:var(--soft);padding-bottom:.5rem}
th,td{text-align:left;vertical-align:top;padding:.5rem 1.1rem .5rem 0}
thead th{font-weight:600;color:var(--soft);border-bottom:1px solid var(--ink);vertical-align:bottom;padding-bottom:.35rem}
tbody th{font-weight:600}
tbody tr{border-bottom:1px solid var(--rule)}
td.number{white-space:nowrap}
td.number .status{white-space:normal}
td small{display:block;color:var(--soft);font-size:.8rem;max-width:26rem;margin-top:.15rem}
.value{font-weight:600;white-space:nowrap}
.interval{white-space:nowrap;color:var(--soft)}
.boundaries thead th:first-child{width:9.5rem}
.boundaries thead th:nth-child(2){width:45%}
.clocks tbody th{white-space:nowrap}
.clocks tbody tr:has(+.how){border-bottom:0}
.how td{padding-top:0;color:var(--soft);font-size:.8rem}
details{margin-top:1.5rem}
summary{cursor:pointer;font-family:var(--sans);font-size:.95rem;color:var(--link)}
.record{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:2rem 3.5rem;margin-top:1.6rem}
.record h3{margin-bottom:.4rem}
.record dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.3rem 1.2rem;
font:.9rem/1.45 var(--sans);font-variant-numeric:lining-nums tabular-nums}
.record dt{color:var(--soft)}
.record dd{margin:0;overflow-wrap:anywhere}
code,pre{font-family:var(--mono);font-size:.82rem;font-variant-numeric:lining-nums}
pre{margin-top:.8rem;padding:1rem 1.2rem;background:var(--panel);white-space:pre-wrap;overflow-wrap:anywhere;
line-height:1.5;max-height:20rem;overflow-y:auto}
.sources{margin-top:2.5rem}
footer{margin-top:4rem;padding-top:1rem;border-top:1px solid var(--rule);font:.85rem/1.5 var(--sans);color:var(--soft);max-width:46rem}
@media (max-width:64rem){
th,td{padding-right:.7rem}
.chart{grid-template-columns:minmax(0,1fr)}
.chart .drawing{max-width:40rem;grid-row:auto}
.chart figcaption{grid-column:1;max-width:41rem}
}
@media (max-width:42rem){
body{font-size:1.0625rem}
main{padding:2rem 1.0625rem 3.5rem}
h1{font-size:1.9rem}
h2{font-size:1.4rem;margin-top:3.2rem}
.lede{font-size:1.2rem}
svg.wide{display:none}
svg.narrow{display:block}
.facts{grid-template-columns:repeat(2,minmax(0,1fr))}
.record{grid-template-columns:minmax(0,1fr)}
.record dl{grid-template-columns:minmax(0,1fr);gap:0}
.record dd{margin-bottom:.55rem}
.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.cards,.cards caption,.cards tbody,.cards tr,.cards th,.cards td{display:block}
.cards tbody tr{padding:.7rem 0}
.cards tbody th{padding:0 0 .3rem;font-size:1rem}
.cards td{display:grid;grid-template-columns:6.2rem minmax(0,1fr);padding:.15rem 0}
.cards td>*{grid-column:2}
.cards td::before{content:attr(data-label);color:var(--soft);grid-column:1;grid-row:1}
.clocks tbody tr{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));column-gap:1rem}
.clocks th,.clocks th+td,.how td{grid-column:1/-1}
.clocks td{grid-template-columns:5.4rem minmax(0,1fr)}
.cards .how,.cards tr:has(+.how){padding-bottom:0}
.cards .how{padding:0 0 .7rem}
.cards .how td{display:block}
.cards .how td::before{content:none}
}
@media print{
:root{${cssVariables(LIGHT)}color-scheme:light}
html{font-size:9.5pt}
body{font-size:1.1rem;background:none}
main{max-width:none;padding:0}
h2{margin-top:2rem;break-after:avoid}
h3{break-after:avoid}
figure,tr,.warnings{break-inside:avoid}
.chart{grid-template-columns:minmax(0,1fr) 15rem;gap:.4rem 1.5rem}
.chart figcaption{grid-column:2}
svg.wide{display:block}
svg.narrow,.downloads{display:none}
.scroll,pre{overflow:visible;max-height:none}
a{color:inherit;text-decoration:none}
}
`;
