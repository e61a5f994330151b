import { ArgsType, Field, Float, ID, Int, ObjectType, registerEnumType } from "type-graphql";

export const FairnessWindow = { HOUR: "HOUR", DAY: "DAY", WEEK: "WEEK" } as const;
export type FairnessWindow = keyof typeof FairnessWindow;
registerEnumType(FairnessWindow, {
  name: "FairnessWindow",
  description: "The last hour, 24 hours or 7 days, in minutes that are over.",
});

@ArgsType()
export class FairnessArguments {
  @Field(() => FairnessWindow, { defaultValue: FairnessWindow.HOUR })
  window!: FairnessWindow;

  @Field(() => ID, { nullable: true, description: "One's own tenant unless given." })
  tenantId?: string;
}

@ObjectType({
  description:
    "What a tenant was entitled to of the service in a window, and what it got. Counted are minutes in which something of it waited or ran. In each, whatever the workers of a pool did is divided among the tenants with demand by their weights; times are those of workers.",
})
export class FairnessReport {
  @Field(() => FairnessWindow)
  window!: FairnessWindow;

  @Field(() => Float, {
    description: "Part of the service that it was entitled to, 0 to 1; 0 when it asked for nothing.",
  })
  entitledShare!: number;

  @Field(() => Float, { description: "Part of the service that it received, 0 to 1." })
  receivedShare!: number;

  @Field(() => Float, { description: "Milliseconds that it was entitled to." })
  entitledMs!: number;

  @Field(() => Float, { description: "Milliseconds that it received." })
  receivedMs!: number;

  @Field(() => Float, {
    description: "Milliseconds that it was entitled to and left to others, because nothing of it waited.",
  })
  lentMs!: number;

  @Field(() => Float, {
    description: "Milliseconds that it received above what it was entitled to, as far as others lent them.",
  })
  borrowedMs!: number;

  @Field(() => Int, { description: "Generations that started for the first time." })
  started!: number;

  @Field(() => Int, {
    nullable: true,
    description:
      "Half of those that started had waited no longer, in milliseconds, to about a tenth; null when none did.",
  })
  p50WaitMs!: number | null;

  @Field(() => Int, { nullable: true, description: "The same of nineteen in twenty." })
  p95WaitMs!: number | null;
}
