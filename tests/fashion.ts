/** Where Fashion-MNIST lies when Debian's package dataset-fashion-mnist is installed; null, and its tests are not run, when not. */
import { existsSync } from "node:fs";
import { join } from "node:path";

export interface FashionFiles {
  readonly trainImages: string;
  readonly trainLabels: string;
  readonly testImages: string;
  readonly testLabels: string;
}

const folder = "/usr/share/datasets/fashion-mnist";

const files: FashionFiles = {
  trainImages: join(folder, "train-images-idx3-ubyte.gz"),
  trainLabels: join(folder, "train-labels-idx1-ubyte.gz"),
  testImages: join(folder, "t10k-images-idx3-ubyte.gz"),
  testLabels: join(folder, "t10k-labels-idx1-ubyte.gz"),
};

export const fashion: FashionFiles | null = Object.values(files).every((path: string) => existsSync(path)) ? files : null;
