/** Model tooling on the command line: pull, build, inspect, run, evaluate. */
import { Command } from "commander";
import { batchCommand } from "./commands/batch.ts";
import { buildCommand, inspectCommand } from "./commands/build.ts";
import { imageToTextCommand } from "./commands/describe.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { imageEditCommand, imageVariationCommand, textToImageCommand } from "./commands/draw.ts";
import { evaluateCommand } from "./commands/evaluate.ts";
import { pullCommand } from "./commands/pull.ts";

const program = new Command("npm run atelier -- model")
  .description("Builds UniPic models from their published checkpoint and runs them.")
  .addCommand(pullCommand())
  .addCommand(buildCommand())
  .addCommand(inspectCommand())
  .addCommand(doctorCommand())
  .addCommand(
    new Command("run")
      .description("run one task on this machine, without a server")
      .addCommand(textToImageCommand())
      .addCommand(batchCommand())
      .addCommand(imageEditCommand())
      .addCommand(imageVariationCommand())
      .addCommand(imageToTextCommand()),
  )
  .addCommand(evaluateCommand());

try {
  await program.parseAsync();
} catch (error) {
  console.error(`model: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
