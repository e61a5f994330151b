import { registerEnumType } from "type-graphql";

export const Speed = { EXACT: "EXACT", FAST: "FAST", FASTER: "FASTER" } as const;
export type Speed = keyof typeof Speed;
registerEnumType(Speed, {
  name: "Speed",
  description:
    "Approximations of the model, by name; `presets` says what each gains and costs. EXACT makes none. Steps and price stay the same.",
});
