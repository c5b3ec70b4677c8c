/**
 * What a result rests on, as BibTeX. `citationsFor(restsOn.collapse)` is ready for a .bib file; results carry the keys.
 */
import { RegimesError, nearestWord } from "./errors.js";

interface Work {
  readonly type: "article" | "inproceedings" | "misc";
  readonly fields: Readonly<Record<string, string>>;
}

/** First author and year, as in "@see" of the documentation. */
export type CitationKey =
  | "biroli2024"
  | "raya2023"
  | "ambrogioni2025"
  | "neklyudov2023"
  | "salmon2011"
  | "robbins1956"
  | "efron2011"
  | "alpaydin1998"
  | "xiao2017"
  | "song2021"
  | "ho2020"
  | "nichol2021"
  | "karras2022"
  | "liu2023";

const works: Readonly<Record<CitationKey, Work>> = {
  biroli2024: {
    type: "article",
    fields: {
      author: "Biroli, Giulio and Bonnaire, Tony and de Bortoli, Valentin and M{\\'e}zard, Marc",
      title: "Dynamical regimes of diffusion models",
      journal: "Nature Communications",
      volume: "15",
      number: "1",
      pages: "9957",
      year: "2024",
      doi: "10.1038/s41467-024-54281-3",
      eprint: "2402.18491",
      archiveprefix: "arXiv",
    },
  },
  raya2023: {
    type: "inproceedings",
    fields: {
      author: "Raya, Gabriel and Ambrogioni, Luca",
      title: "Spontaneous symmetry breaking in generative diffusion models",
      booktitle: "Advances in Neural Information Processing Systems",
      volume: "36",
      year: "2023",
      eprint: "2305.19693",
      archiveprefix: "arXiv",
    },
  },
  ambrogioni2025: {
    type: "article",
    fields: {
      author: "Ambrogioni, Luca",
      title:
        "The statistical thermodynamics of generative diffusion models: phase transitions, symmetry breaking, and critical instability",
      journal: "Entropy",
      volume: "27",
      number: "3",
      pages: "291",
      year: "2025",
      doi: "10.3390/e27030291",
      eprint: "2310.17467",
      archiveprefix: "arXiv",
    },
  },
  neklyudov2023: {
    type: "misc",
    fields: {
      author: "Neklyudov, Kirill",
      howpublished: "Recorded lecture, Perimeter Institute for Theoretical Physics",
      note: "PIRSA 23030113",
      year: "2023",
      url: "https://pirsa.org/23030113",
    },
  },
  salmon2011: {
    type: "inproceedings",
    fields: {
      author: "Salmon, John K. and Moraes, Mark A. and Dror, Ron O. and Shaw, David E.",
      title: "Parallel random numbers: as easy as 1, 2, 3",
      booktitle: "Proceedings of the International Conference for High Performance Computing, Networking, Storage and Analysis (SC '11)",
      year: "2011",
      doi: "10.1145/2063384.2063405",
    },
  },
  robbins1956: {
    type: "inproceedings",
    fields: {
      author: "Robbins, Herbert",
      title: "An empirical {B}ayes approach to statistics",
      booktitle: "Proceedings of the Third Berkeley Symposium on Mathematical Statistics and Probability",
      volume: "1",
      pages: "157--163",
      year: "1956",
    },
  },
  efron2011: {
    type: "article",
    fields: {
      author: "Efron, Bradley",
      title: "Tweedie's formula and selection bias",
      journal: "Journal of the American Statistical Association",
      volume: "106",
      number: "496",
      pages: "1602--1614",
      year: "2011",
      doi: "10.1198/jasa.2011.tm11181",
    },
  },
  alpaydin1998: {
    type: "misc",
    fields: {
      author: "Alpaydin, E. and Kaynak, C.",
      title: "Optical recognition of handwritten digits",
      howpublished: "UCI Machine Learning Repository",
      year: "1998",
      doi: "10.24432/C50P49",
    },
  },
  xiao2017: {
    type: "misc",
    fields: {
      author: "Xiao, Han and Rasul, Kashif and Vollgraf, Roland",
      title: "{Fashion-MNIST}: a novel image dataset for benchmarking machine learning algorithms",
      year: "2017",
      eprint: "1708.07747",
      archiveprefix: "arXiv",
    },
  },
  song2021: {
    type: "inproceedings",
    fields: {
      author: "Song, Yang and Sohl-Dickstein, Jascha and Kingma, Diederik P. and Kumar, Abhishek and Ermon, Stefano and Poole, Ben",
      title: "Score-based generative modeling through stochastic differential equations",
      booktitle: "International Conference on Learning Representations",
      year: "2021",
      eprint: "2011.13456",
      archiveprefix: "arXiv",
    },
  },
  ho2020: {
    type: "inproceedings",
    fields: {
      author: "Ho, Jonathan and Jain, Ajay and Abbeel, Pieter",
      title: "Denoising diffusion probabilistic models",
      booktitle: "Advances in Neural Information Processing Systems",
      volume: "33",
      year: "2020",
      eprint: "2006.11239",
      archiveprefix: "arXiv",
    },
  },
  nichol2021: {
    type: "inproceedings",
    fields: {
      author: "Nichol, Alexander Quinn and Dhariwal, Prafulla",
      title: "Improved denoising diffusion probabilistic models",
      booktitle: "Proceedings of the 38th International Conference on Machine Learning",
      year: "2021",
      eprint: "2102.09672",
      archiveprefix: "arXiv",
    },
  },
  karras2022: {
    type: "inproceedings",
    fields: {
      author: "Karras, Tero and Aittala, Miika and Aila, Timo and Laine, Samuli",
      title: "Elucidating the design space of diffusion-based generative models",
      booktitle: "Advances in Neural Information Processing Systems",
      volume: "35",
      year: "2022",
      eprint: "2206.00364",
      archiveprefix: "arXiv",
    },
  },
  liu2023: {
    type: "inproceedings",
    fields: {
      author: "Liu, Xingchao and Gong, Chengyue and Liu, Qiang",
      title: "Flow straight and fast: learning to generate and transfer data with rectified flow",
      booktitle: "International Conference on Learning Representations",
      year: "2023",
      eprint: "2209.03003",
      archiveprefix: "arXiv",
    },
  },
};

/** All keys. */
export const citationKeys: readonly CitationKey[] = Object.keys(works) as CitationKey[];

/** Keys behind the parts of a result: regimes, single criteria, methods, processes (by `Process.name`) and data sets. */
export const restsOn: Readonly<
  Record<
    | "speciation"
    | "collapse"
    | "sde-instability"
    | "thermodynamics"
    | "score"
    | "random numbers"
    | "ornstein-uhlenbeck"
    | "variance-preserving"
    | "variance-exploding"
    | "sub-variance-preserving"
    | "ddpm"
    | "cosine schedule"
    | "edm"
    | "rectified-flow"
    | "digits"
    | "fashion-mnist",
    readonly CitationKey[]
  >
> = {
  speciation: ["biroli2024"],
  collapse: ["biroli2024"],
  "sde-instability": ["raya2023"],
  thermodynamics: ["ambrogioni2025"],
  score: ["robbins1956", "efron2011", "neklyudov2023"],
  "random numbers": ["salmon2011"],
  "ornstein-uhlenbeck": ["biroli2024"],
  "variance-preserving": ["song2021"],
  "variance-exploding": ["song2021"],
  "sub-variance-preserving": ["song2021"],
  ddpm: ["ho2020"],
  "cosine schedule": ["nichol2021"],
  edm: ["karras2022"],
  "rectified-flow": ["liu2023"],
  digits: ["alpaydin1998"],
  "fashion-mnist": ["xiao2017"],
};

/**
 * BibTeX entries of the works with these keys, each once, in the order of first mention, one blank line between; "" for no keys.
 * @throws RegimesError E_OPTION for an unknown key, naming the nearest.
 */
export function citationsFor(keys: Iterable<string>): string {
  return [...new Set(keys)].map(entry).join("\n");
}

function entry(key: string): string {
  if (!isKey(key)) {
    const near = nearestWord(key, citationKeys);
    const hint = near === undefined ? `Known are ${citationKeys.join(", ")}.` : `Did you mean "${near}"?`;
    throw new RegimesError("E_OPTION", `no work has the citation key "${key}". ${hint}`);
  }
  const work = works[key];
  const lines = Object.entries(work.fields).map(([name, value]) => `  ${name} = {${value}},\n`);
  return `@${work.type}{${key},\n${lines.join("")}}\n`;
}

function isKey(key: string): key is CitationKey {
  return Object.hasOwn(works, key);
}
