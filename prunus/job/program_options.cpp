#include "prunus/job/program_options.h"

namespace prunus {
namespace {

constexpr Option<ProgramOptions> kProgramOptions[] = {
    {.info = {.key = "json",
              .help = "print the record of the run, as in run.json, to stdout",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(ProgramOptions, json)},
    {.info = {.key = "threads",
              .help = "CPU threads; 0 uses every core it may",
              .range = {0, 4096},
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(ProgramOptions, threads)},
    {.info = {.key = "quiet",
              .help = "no progress or messages on stderr, only errors",
              .also = "q",
              .recorded = Recorded::No},
     .member = PRUNUS_MEMBER(ProgramOptions, quiet)},
    {.info = {.key = "matmul",
              .help = "what multiplies FP32 matrices on the CPU: mkl (libtorch's BLAS), onednn, or "
                      "auto, which measures both for a moment",
              .choices = "auto,mkl,onednn",
              .recorded = Recorded::No},
     .member = PRUNUS_WORD(ProgramOptions, matmul, parse_matmul, name_of_matmul)}};

}  // namespace

const OptionTable<ProgramOptions> program_table{
    .command = "", .options = kProgramOptions, .fresh = +[] { return ProgramOptions(); }};

const OptionTable<ProgramOptions> process_table{.command = "",
                                                .options = std::span(kProgramOptions).subspan(1),
                                                .fresh = +[] { return ProgramOptions(); }};

}  // namespace prunus
