#include "prunus/cli/record_output.h"

namespace prunus {
namespace {

constexpr Option<RecordOutput> kEvalOptions[] = {
    {.info = {.key = "out",
              .help = "write the JSON, a run.json, to this file, too",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecordOutput, out)},
    {.info = {.key = "samples",
              .group = "Zero-shot tasks",
              .help = "write every item's scores as jsonl",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecordOutput, samples)},
    {.info = {.key = "resume",
              .help = "go on where an interrupted run with this --out stopped",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecordOutput, resume)},
    {.info = {.key = "force", .help = "replace what stands at --out", .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecordOutput, force)}};

constexpr Option<RecordOutput> kBenchOptions[] = {
    {.info = {.key = "out",
              .help = "also write the JSON, a run.json, to this file",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecordOutput, out)},
    {.info = {.key = "force", .help = "replace what stands at --out", .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(RecordOutput, force)}};

}  // namespace

const OptionTable<RecordOutput> eval_output_table{
    .command = "eval", .options = kEvalOptions, .fresh = +[] { return RecordOutput(); }};
const OptionTable<RecordOutput> bench_output_table{
    .command = "bench", .options = kBenchOptions, .fresh = +[] { return RecordOutput(); }};
const OptionTable<RecordOutput> verify_output_table{
    .command = "verify", .options = kBenchOptions, .fresh = +[] { return RecordOutput(); }};

}  // namespace prunus
