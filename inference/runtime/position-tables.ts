/**
 * Learned position tables for other grids than the one they were trained on: bilinear interpolation of the table seen
 * as a picture, half-pixel centres, clamped at the edge, no antialiasing (model-spec 3.3).
 */

export interface Grid {
  readonly rows: number;
  readonly columns: number;
}

/** Rows in front of the picture's (`leading` buffer tokens) stay as they are. table: [leading + side^2, width] */
export function resizePositionTable(
  table: Float32Array,
  { leading, side, width }: { leading: number; side: number; width: number },
  grid: Grid,
): Float32Array {
  if (grid.rows === side && grid.columns === side) return table;
  const result = new Float32Array((leading + grid.rows * grid.columns) * width);
  result.set(table.subarray(0, leading * width));
  const vertical = sourcesOf(grid.rows, side);
  const horizontal = sourcesOf(grid.columns, side);
  let out = leading * width;
  for (const y of vertical) {
    for (const x of horizontal) {
      const corner = (row: number, column: number): number => (leading + row * side + column) * width;
      const topLeft = corner(y.first, x.first);
      const topRight = corner(y.first, x.second);
      const bottomLeft = corner(y.second, x.first);
      const bottomRight = corner(y.second, x.second);
      for (let c = 0; c < width; c++) {
        const top = (1 - x.weight) * (table[topLeft + c] ?? 0) + x.weight * (table[topRight + c] ?? 0);
        const bottom = (1 - x.weight) * (table[bottomLeft + c] ?? 0) + x.weight * (table[bottomRight + c] ?? 0);
        result[out++] = (1 - y.weight) * top + y.weight * bottom;
      }
    }
  }
  return result;
}

interface Source {
  readonly first: number;
  readonly second: number;
  /** Share of `second`. */
  readonly weight: number;
}

function sourcesOf(size: number, from: number): readonly Source[] {
  return Array.from({ length: size }, (_, index) => {
    const position = Math.max(0, (index + 0.5) * (from / size) - 0.5);
    const first = Math.min(from - 1, Math.floor(position));
    return { first, second: Math.min(first + 1, from - 1), weight: position - first };
  });
}
