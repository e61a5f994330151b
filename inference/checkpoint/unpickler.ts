import type { ByteCursor } from "./byte-cursor.ts";
import { type PickleHost, PickleMachine } from "./pickle-machine.ts";
import { OPERATIONS, STOP } from "./pickle-opcodes.ts";
import type { PickleValue } from "./pickle-value.ts";

/** A checkpoint's pickle holds names and shapes: a few hundred kB. Also bounds the memory that a hostile one can take. */
const MAX_PICKLE_BYTES = 64 * 1024 * 1024;

/**
 * Reads one pickle and leaves the cursor behind it. Nothing is executed: a pickle is a program for a stack machine
 * that can import and call any Python name; here every name must be on the host's list, which holds stand-ins.
 * Each opcode takes at least one byte and does bounded work, so this ends for every input.
 */
export function unpickle(input: ByteCursor, host: PickleHost): PickleValue {
  const machine = new PickleMachine(input, host);
  const limit = input.position + MAX_PICKLE_BYTES;
  for (;;) {
    const opcode = input.readByte();
    if (opcode === STOP) return machine.pop();
    const operation = OPERATIONS.get(opcode);
    if (operation === undefined)
      throw machine.damaged(`0x${opcode.toString(16)} is no pickle opcode that torch writes`);
    operation(machine);
    if (input.position > limit) throw machine.damaged("its list of tensors does not end");
  }
}
