/**
 * npm's install script: leaves a prebuilt or an already built addon alone, else builds one. It never fails an installation: the
 * closed forms work without the addon, and the first call that needs it says which command builds it.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { binary, buildAddon, root } from "./build.mjs";

const prebuilt = join(root, "prebuilds", `${process.platform}-${process.arch}`, "regimes.node");
if (!existsSync(binary) && !existsSync(prebuilt)) {
  let code = 1;
  try {
    code = buildAddon();
  } catch (error) {
    console.error(error.message);
  }
  if (code !== 0) {
    console.error("diffusion-regimes: the native addon could not be built now (see above). Build it later with: npx diffusion-regimes build");
  }
}
