/** The public surface of diffusion-regimes: data -> target -> process -> field -> curves and critical times -> analysis -> report. */
export type { NdArray, PointsInput, RealArray } from "./array.js";
export { RegimesError, type ErrorCode } from "./errors.js";
export type { Estimate, EstimateStatus } from "./estimate.js";
export type { RunOptions } from "./native.js";
export {
  Dataset,
  openDataset,
  type DataInput,
  type DatasetOptions,
  type LabelSource,
  type MapChoice,
  type NumericArray,
  type RowSelection,
  type Scale,
  type ScaleName,
} from "./data.js";
export {
  empirical,
  gaussianMixture,
  sampleTarget,
  type ClassSpectrum,
  type EmpiricalOptions,
  type Mixture,
  type MixtureParameters,
  type SampleTargetOptions,
  type Spectrum,
  type SpectrumOptions,
  type Target,
} from "./target.js";
export type { CovarianceParameters } from "./components.js";
export {
  clocks,
  ddpm,
  describeProcess,
  edm,
  edmSchedule,
  firstStepBelow,
  ornsteinUhlenbeck,
  ouTimeFrom,
  processByName,
  processNames,
  rectifiedFlow,
  subVariancePreserving,
  varianceExploding,
  variancePreserving,
  type Clocks,
  type DdpmOptions,
  type DiscreteProcess,
  type EdmScheduleOptions,
  type Marginal,
  type Process,
  type SubVariancePreservingOptions,
  type VarianceExplodingOptions,
  type VariancePreservingOptions,
} from "./process.js";
export {
  diffuse,
  type ErrorBound,
  type Field,
  type Meta,
  type Path,
  type Posterior,
  type PosteriorOptions,
  type PosteriorOf,
  type PosteriorReading,
  type Precision,
  type SampleOptions,
  type Samples,
  type Sweep,
  type SweepOptions,
} from "./field.js";
export {
  gaussianOf,
  reverseGrid,
  sampleReverse,
  samplerNames,
  samplers,
  scheduleNames,
  type AdaptiveSteps,
  type GaussianCovariance,
  type GridOptions,
  type Node,
  type Observable,
  type Observed,
  type RecordOptions,
  type ReverseRun,
  type SampleReverseOptions,
  type SamplerFacts,
  type SamplerName,
  type SamplerParameters,
  type Schedule,
  type ScoreModel,
  type Start,
  type Tolerance,
  type TrajectoryOptions,
} from "./sampler.js";
export { generation, type Generation, type GenerationOptions } from "./generation.js";
export {
  frechetDistance,
  memorisationRatio,
  sampleQuality,
  type GaussianLaw,
  type Memorisation,
  type MemorisationOptions,
  type MeasureName,
  type MeasureOptions,
  type SampleQuality,
} from "./quality.js";
export {
  lateStart,
  secondDifferences,
  type LateStartComparison,
  type LateStartCurve,
  type LateStartOptions,
  type LateStartPoint,
  type LateStartStudy,
  type StartLaw,
} from "./experiments/late-start.js";
export {
  discretisationAudit,
  type AuditCell,
  type DiscretisationAudit,
  type DiscretisationAuditOptions,
  type MeasuredOrder,
} from "./experiments/discretisation-audit.js";
export type { SamplerChoice } from "./experiments/sampler-choice.js";
export { defaultTimes, regimes, type CriticalTime, type RegimeCurves, type RegimesOptions, type TimesInput } from "./regimes.js";
export { speciationCriteria, speciationTime, type SpeciationCriterion, type SpeciationOptions } from "./speciation.js";
export { collapseCriteria, collapseTime, type CollapseCriterion, type CollapseOptions } from "./collapse.js";
export { clones, type Clones, type ClonesOptions } from "./experiments/clones.js";
export type { TrajectoryCollapse, TrajectoryCollapseOptions } from "./collapse/trajectory.js";
export { uTurn, type UTurn, type UTurnOptions } from "./experiments/u-turn.js";
export * as theory from "./theory.js";
export { analyze, type Analysis, type AnalysisOptions, type AnalysisStage } from "./analysis.js";
export { renderGeneration, type GenerationReportOptions } from "./report/generation.js";
export { cloningDeviations, renderCloning, type CloningReportOptions, type CloningStudy } from "./report/cloning.js";
export { renderLateStart, type LateStartReportOptions } from "./report/late-start.js";
export { renderReport, type ReportOptions } from "./report.js";
export { citationKeys, citationsFor, restsOn, type CitationKey } from "./citations.js";
