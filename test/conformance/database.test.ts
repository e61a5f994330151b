import { databasesHere } from "../support/test-database.ts";
import { databaseConformance } from "./database.ts";

for (const { name, create } of databasesHere()) databaseConformance(name, create);
