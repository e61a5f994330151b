import { InProcessFrameBus } from "../../src/progress/in-process-frame-bus.ts";
import { frameBusConformance } from "./frame-bus.ts";

frameBusConformance("the in-process bus", async (clock) => new InProcessFrameBus(clock));
