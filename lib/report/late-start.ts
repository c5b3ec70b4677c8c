/** Quality against start time as a chart: one colour per sampler, solid from the Gaussian start, dashed from N(0, I). */
import type { LateStartCurve, LateStartStudy } from "../experiments/late-start.js";
import { type Chart, type Flag, type KeyEntry, type Mark, drawChart, standaloneSvg } from "./chart.js";
import { DASHES, decadeTicks, timeAxis } from "./curve.js";
import { significant } from "./numbers.js";
import { CLASS_COLOURS, type Colour, paint } from "./palette.js";

/** The chart of a study as an SVG file of its own. */
export function lateStartSvg(study: LateStartStudy): string {
  return standaloneSvg(drawChart(lateStartChart(study), "wide"));
}

/** The distance of each curve with its 95 % band, the floor, and the times at which theory expects the first bifurcation. */
export function lateStartChart(study: LateStartStudy): Chart {
  const { curves, floor, measure, ouTimes, steps, expected } = study;
  const axis = timeAxis(ouTimes);
  const heights = [floor.distance, ...curves.flatMap(({ points }) => points.map(({ distance }) => distance))].map(({ value }) => value!).filter((value) => value > 0);
  const [low, high] = [Math.min(...heights) / 1.4, Math.max(...heights) * 1.3];
  const inside = (time: number): boolean => time >= axis.domain[0] && time <= axis.domain[1];
  const samplers = [...new Set(curves.map(({ sampler }) => sampler))];
  const colourOf = ({ sampler }: LateStartCurve): Colour => CLASS_COLOURS[samplers.indexOf(sampler) % CLASS_COLOURS.length]!;
  const dashOf = ({ startLaw }: LateStartCurve): { readonly dash?: string } => (startLaw === "standard" ? { dash: DASHES.theory } : {});
  const flags: Flag[] = expected.speciation !== null && inside(expected.speciation) ? [{ x: expected.speciation, label: `t_S = ${significant(expected.speciation, 3)}` }] : [];
  const drift = expected.drift !== null && inside(expected.drift) ? [expected.drift] : [];
  const key: KeyEntry[] = [
    ...curves.map((curve) => ({ label: `${curve.sampler}, ${curve.startLaw}`, colour: colourOf(curve), ...dashOf(curve) })),
    { label: "draws of the data", colour: "soft", dash: DASHES.levels[0]! },
    ...drift.map((time) => ({ label: `drift unstable, 1/2 asinh \u039b = ${significant(time, 3)}`, colour: "third" as const, dash: DASHES.others[0]! })),
  ];
  return {
    heading: `${measure} distance to the data, ${steps} denoising steps`,
    description:
      `Line chart of the ${measure} distance of ${study.samples} samples after ${steps} denoising steps against the OU time of the start. ` +
      curves.map(({ sampler, startLaw, best }) => `${sampler} from ${startLaw}: least ${significant(best.distance.value!, 3)} at t = ${significant(best.ouTime, 2)}.`).join(" "),
    key,
    flags,
    xLabel: `start time, ${axis.label}`,
    x: axis,
    y: { type: "log", domain: [low, high], ticks: decadeTicks(low, high) },
    tick: (value) => String(value),
    marks: (plot): Mark[] => [
      plot.ruleX(drift, { y1: low, y2: high, stroke: paint("third"), strokeWidth: 1.4, strokeDasharray: DASHES.others[0]! }),
      flags.map(({ x }) => plot.ruleX([x], { y1: low, y2: high, stroke: paint("ink"), strokeWidth: 1.4 })),
      plot.ruleY([floor.distance.value!], { stroke: paint("soft"), strokeWidth: 1.4, strokeDasharray: DASHES.levels[0]! }),
      curves.map((curve) => {
        const points = curve.points.map(({ ouTime, distance }) => ({ t: ouTime, value: distance.value!, low: Math.max(low, distance.ci95![0]), high: distance.ci95![1] }));
        const { dash } = dashOf(curve);
        return [
          plot.areaY(points, { x: "t", y1: "low", y2: "high", fill: paint(colourOf(curve)), fillOpacity: 0.12 }),
          plot.line(points, { x: "t", y: "value", stroke: paint(colourOf(curve)), strokeWidth: 1.8, ...(dash === undefined ? {} : { strokeDasharray: dash }) }),
          plot.dot(points, { x: "t", y: "value", r: 2.2, fill: paint(colourOf(curve)) }),
        ];
      }),
    ],
  };
}
