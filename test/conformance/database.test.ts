import { createTestDatabase } from "../support/test-database.ts";
import { databaseConformance } from "./database.ts";

databaseConformance("the embedded one", createTestDatabase);
