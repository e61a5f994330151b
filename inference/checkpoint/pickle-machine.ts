import type { ByteCursor } from "./byte-cursor.ts";
import { describe, isGlobal, type PickleGlobal, type PickleValue } from "./pickle-value.ts";

/** What the pickle may reach outside itself. */
export interface PickleHost {
  /** The global of this dotted name, or undefined where it is not allowed. */
  findGlobal(name: string): PickleGlobal | undefined;
  /** The object behind a persistent id, or undefined where that is no such id. */
  findPersistent(id: PickleValue): PickleValue | undefined;
}

/** Values waiting at once. CPython flushes a dict's items in batches of 1000, so real stacks stay far below. */
const MAX_STACK = 2 ** 20;
/** Below the 2^24 entries at which a JavaScript Map fails. */
const MAX_MEMO = 2 ** 22;
/** Elements passed to calls altogether: a small pickle can call one name with one long list again and again. */
const MAX_ARGUMENT_ELEMENTS = 2 ** 24;

/** Stack and memo of a pickle that is being read. Its methods are the only way for an opcode to change them. */
export class PickleMachine {
  private readonly stack: PickleValue[] = [];
  /** Stack heights at which a MARK lies; values below the last one cannot be popped. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private argumentElements = 0;

  constructor(
    readonly input: ByteCursor,
    private readonly host: PickleHost,
  ) {}

  push(value: PickleValue): void {
    if (this.stack.length >= MAX_STACK) throw this.damaged("its stack grows beyond all measure");
    this.stack.push(value);
  }

  pop(): PickleValue {
    const value = this.stack.length > (this.marks.at(-1) ?? 0) ? this.stack.pop() : undefined;
    if (value === undefined) throw this.damaged("it takes a value from an empty stack");
    return value;
  }

  peek(): PickleValue {
    const value = this.pop();
    this.stack.push(value);
    return value;
  }

  mark(): void {
    if (this.marks.length >= MAX_STACK) throw this.damaged("its stack grows beyond all measure");
    this.marks.push(this.stack.length);
  }

  popToMark(): PickleValue[] {
    const height = this.marks.pop();
    if (height === undefined) throw this.damaged("it looks for a mark that was never set");
    return this.stack.splice(height);
  }

  /** POP: a mark counts as a value. */
  discard(): void {
    if (this.marks.at(-1) === this.stack.length) this.marks.pop();
    else this.pop();
  }

  popMany(count: number): PickleValue[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  /** Remembers the top value, under the next free index if none is given. */
  memoize(index: number = this.memo.size): void {
    if (this.memo.size >= MAX_MEMO) throw this.damaged("it remembers too many values");
    this.memo.set(index, this.peek());
  }

  recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw this.damaged(`it recalls value ${index}, which it never stored`);
    this.push(value);
  }

  pushGlobal(name: string): void {
    const found = this.host.findGlobal(name);
    if (found === undefined) {
      throw this.input.failure(
        `wants to call ${quote(name)}; a checkpoint must contain only tensors, so nothing of it was run or loaded. ` +
          "Do not use this file unless you trust its source; if you do, save its state_dict() alone.",
      );
    }
    this.push(found);
  }

  pushPersistent(id: PickleValue): void {
    const found = this.host.findPersistent(id);
    if (found === undefined) throw this.damaged("it refers to something outside that is no storage of tensors");
    this.push(found);
  }

  call(callee: PickleValue, args: PickleValue): void {
    if (!isGlobal(callee) || callee.call === undefined || !Array.isArray(args)) {
      throw this.damaged(`it calls ${describe(callee)}, which no checkpoint needs`);
    }
    for (const arg of args) this.argumentElements += Array.isArray(arg) ? arg.length + 1 : 1;
    if (this.argumentElements > MAX_ARGUMENT_ELEMENTS) throw this.damaged("it builds more objects than any checkpoint");
    const result = callee.call(args);
    if (result === undefined) throw this.damaged(`it calls ${callee.name} with arguments that do not fit`);
    this.push(result);
  }

  /** Adds the values to the list that is now on top. */
  appendAll(values: readonly PickleValue[]): void {
    const list = this.peek();
    if (!Array.isArray(list)) throw this.damaged(`it appends to ${describe(list)}`);
    for (const value of values) list.push(value);
  }

  /** Sets alternating keys and values in the dict that is now on top. */
  setAll(items: readonly PickleValue[]): void {
    const dict = this.peek();
    if (!(dict instanceof Map)) throw this.damaged(`it sets items of ${describe(dict)}`);
    if (items.length % 2 !== 0) throw this.damaged("it sets a key without a value");
    for (let i = 0; i < items.length; i += 2) dict.set(items[i] ?? null, items[i + 1] ?? null);
  }

  /**
   * BUILD. Only an OrderedDict carries attributes here (`_metadata` of a state_dict), which say nothing about tensors:
   * they are dropped. On anything else it would be `__setstate__`, that is, a call.
   */
  dropAttributes(): void {
    const state = this.pop();
    const target = this.peek();
    if (target instanceof Map && (state === null || state instanceof Map)) return;
    throw this.damaged(`it sets the state of ${describe(target)}, which no checkpoint needs`);
  }

  damaged(why: string): Error {
    return this.input.failure(
      `is damaged or no checkpoint: near byte ${this.input.position}, ${why}. Download it again.`,
    );
  }
}

/** Text of a file in an error message: short, and without control characters. */
const quote = (text: string): string =>
  JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text).slice(1, -1);
