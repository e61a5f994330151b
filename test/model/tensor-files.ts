import { writeFileSync } from "node:fs";
import { openCheckpoint } from "../../inference/checkpoint/open-checkpoint.ts";
import { safetensorsBytes } from "../checkpoint/checkpoint-writer.ts";

export interface StoredValues {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export function readTensors(file: string, root?: string): Map<string, StoredValues> {
  const checkpoint = openCheckpoint(file, root === undefined ? {} : { root });
  try {
    return new Map(
      checkpoint.names.map((name) => [
        name,
        { shape: checkpoint.find(name)!.shape, values: checkpoint.readFloat32(name) },
      ]),
    );
  } finally {
    checkpoint.close();
  }
}

/** As safetensors, whatever the file's name: files are recognised by their content. */
export function writeTensors(file: string, tensors: ReadonlyMap<string, StoredValues>, prefix = ""): void {
  let offset = 0;
  const header = Object.fromEntries(
    [...tensors].map(([name, { shape, values }]) => {
      const start = offset;
      offset += values.byteLength;
      return [prefix + name, { dtype: "F32", shape, data_offsets: [start, offset] }];
    }),
  );
  const parts = [...tensors.values()].map(({ values }) =>
    Buffer.from(values.buffer, values.byteOffset, values.byteLength),
  );
  writeFileSync(file, safetensorsBytes(header, Buffer.concat(parts)));
}
