#pragma once
// What the tables of `recover` and `train` have in common.
#include <string>

#include "prunus/base/option.h"
#include "prunus/train/memory_plan.h"

namespace prunus {

constexpr Range kValidShare{.most = 0.99};
constexpr const char* kTrainingGroup = "Training";

inline Checkpointing parse_checkpointing(const std::string& text) {
  return text == "on"    ? Checkpointing::On
         : text == "off" ? Checkpointing::Off
                         : Checkpointing::Auto;
}
inline const char* checkpointing_name(Checkpointing one) {
  return one == Checkpointing::On ? "on" : one == Checkpointing::Off ? "off" : "auto";
}

// A word for one of two values of a member.
#define PRUNUS_EITHER(Job, path, word, value, other_word, other_value)                       \
  WordMember<Job> {                                                                          \
    +[](Job& job, const std::string& text, const std::string&) {                             \
      job.path = text == word ? value : other_value;                                         \
    },                                                                                       \
        +[](const Job& job) -> std::string { return job.path == value ? word : other_word; } \
  }

// What `recover` and `train` have in common.
#define PRUNUS_CHECKPOINT_OPTION(Job, heading)                                           \
  {                                                                                      \
    .info = {.key = "checkpoint",                                                        \
             .group = heading,                                                           \
             .help =                                                                     \
                 "recompute layers in the backward pass: auto (where memory is short), " \
                 "on, off",                                                              \
             .choices = "auto,on,off",                                                   \
             .recorded = Recorded::No},                                                  \
    .member = PRUNUS_WORD(Job, checkpointing, parse_checkpointing, checkpointing_name)   \
  }
#define PRUNUS_RESUME_OPTION(Job, heading)                                                    \
  {                                                                                           \
    .info = {.key = "resume",                                                                 \
             .group = heading,                                                                \
             .help =                                                                          \
                 "go on where an interrupted run of this command stopped; --lr, --schedule, " \
                 "--warmup, --clip, length and validation may differ from it",                \
             .recorded = Recorded::No},                                                       \
    .member = PRUNUS_MEMBER(Job, resume)                                                      \
  }

}  // namespace prunus
