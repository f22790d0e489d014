// `prunus eval` end to end on a tiny model.
#include <algorithm>
#include <cmath>

#include "prunus/base/file_lock.h"

#include "cli/fixture.h"

namespace prunus::test_cli::eval_test {
namespace {

class EvalCommand : public CliTest {
 protected:
  Json evaluate(Arguments more) const {
    Arguments all{"eval", model, "--json"};
    all.insert(all.end(), more.begin(), more.end());
    const Outcome done = run(all);
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return parse_json(done.out, "stdout");
  }

  // Two items of each task of LLM-Pruner's table.
  void write_tasks() const {
    const std::string choices =
        R"("choices": {"text": ["red", "blue"], "label": ["A", "B"]}, "answerKey": ")";
    const auto two = [&](const std::string& name, const std::string& begin, const char* first,
                         const char* second) {
      file("tasks/" + name + ".jsonl", begin + first + "}\n" + begin + second + "}\n");
    };
    fs::create_directories(dir / "tasks");
    two("boolq", R"({"passage": "Plums are red.", "question": "are plums red", "label": )", "0",
        "1");
    two("piqa", R"({"goal": "Eat.", "sol1": "Bite it", "sol2": "Sit", "label": )", "0", "1");
    two("hellaswag",
        R"({"activity_label": "Eating", "ctx_a": "A man.", "ctx_b": "he", "ctx": "A man. he", )"
        R"("endings": ["eats", "sits down"], "label": )",
        "0", "1");
    two("winogrande",
        R"({"sentence": "A ate, so _ sat.", "option1": "Ann", "option2": "Bo", "answer": ")", "1\"",
        "2\"");
    for (const char* name : {"arc_easy", "arc_challenge"}) {
      two(name, R"({"question": "Which?", )" + choices, "A\"", "B\"");
    }
    two("openbookqa", R"({"question_stem": "A plum is", )" + choices, "A\"", "B\"");
  }

  std::string text = file("text.txt", some_text(40));
  std::string tasks = dir / "tasks";
};

TEST_F(EvalCommand, SaysWhatCanBeAskedWhereNothingWas) {
  const Outcome nothing = run({"eval", model});
  expect_failed(nothing, 2, "--ppl");
  EXPECT_THAT(nothing.err, HasSubstr("--tasks"));
  EXPECT_THAT(nothing.err, HasSubstr("--kl-to"));
}

TEST_F(EvalCommand, RefusesHalfARequest) {
  const auto refuses = [&](Arguments more, const std::string& part) {
    Arguments all{"eval", model};
    all.insert(all.end(), more.begin(), more.end());
    expect_failed(run(all), 2, part);
  };
  refuses({"--tasks", "piqa"}, "--task-dir");
  refuses({"--kl-to", model}, "--text");
  refuses({"--ppl", text, "--text", text}, "--kl-to");
  refuses({"--ppl", text, "--kl-cache", dir / "cache"}, "--kl-to");
  refuses({"--ppl", text, "--resume"}, "--out");
  refuses({"--ppl", text, "--protocol", "magic"}, "lm-eval-word");
  refuses({"--ppl", "ptb@16"}, "--text-dir");
  refuses({"--ppl", "ptb@many"}, "number of tokens");
  expect_failed(run({"eval", model, "--ppl", "ptb@16", "--text-dir", dir.path()}), 3,
                "ptb.valid.txt");
  expect_failed(run({"eval", model, "--ppl", dir / "absent.txt"}), 3, "absent.txt");
  expect_failed(run({"eval", model, "--ppl", "wikitext@128"}), 3, "did you mean 'wikitext2'?");
}

TEST_F(EvalCommand, CarriesProtocolTokensErrorTypeAndHashWithEveryResult) {
  file("ptb.valid.txt", " a plum \n a tree \n");
  const Json json =
      evaluate({"--ppl", text, "--ppl", "ptb@8", "--seqlen", "16", "--text-dir", dir.path()});
  const Json& plain = json.at("results")[0];
  EXPECT_EQ(plain.at("protocol"), "chunked-16");
  EXPECT_EQ(plain.at("rule"), "paper");
  EXPECT_EQ(plain.at("dtype"), "float32");
  EXPECT_EQ(plain.at("text_sha256").get<std::string>().size(), 64U);
  const double ppl = plain.at("ppl");
  EXPECT_DOUBLE_EQ(ppl, std::exp(plain.at("nll_per_token").get<double>()));
  EXPECT_NEAR(plain.at("nll_sum").get<double>() / plain.at("tokens").get<double>(), std::log(ppl),
              1e-9);
  EXPECT_GT(plain.at("nll_per_token_stderr"), 0.0);
  EXPECT_DOUBLE_EQ(plain.at("ppl_stderr").get<double>(),
                   ppl * plain.at("nll_per_token_stderr").get<double>());
  // "a plum a tree" and BOS are 14 tokens: one chunk of 8, whose error nobody knows.
  const Json& ptb = json.at("results")[1];
  EXPECT_EQ(ptb.at("protocol"), "ptb@8");
  EXPECT_EQ(ptb.at("tokens"), 7);
  EXPECT_TRUE(ptb.at("ppl_stderr").is_null());
}

TEST_F(EvalCommand, GivesPerplexitiesByWordAndByteOfDocuments) {
  const std::string pages = file("pages.raw", " = A = \n red , plum \n = B = \n blue \n");
  const Json json = evaluate({"--ppl", "wikitext2=" + pages, "--protocol", "lm-eval-word"});
  const Json& one = json.at("results")[0];
  EXPECT_EQ(one.at("protocol"), "lm-eval-word:wikitext2@64");
  EXPECT_EQ(one.at("documents"), 2);
  // Page A: "", "=", "A", "=", "red", ",", "plum", "" and 21 bytes; page B: 6 words, 15 bytes.
  const double nll = one.at("nll_sum");
  EXPECT_NEAR(std::log(one.at("word_perplexity").get<double>()), nll / 14, 1e-9);
  EXPECT_NEAR(std::log(one.at("byte_perplexity").get<double>()), nll / 36, 1e-9);
  EXPECT_NEAR(one.at("bits_per_byte").get<double>(), nll / 36 / std::log(2.0), 1e-9);
  EXPECT_GT(one.at("word_perplexity_stderr"), 0.0);
}

TEST_F(EvalCommand, MeasuresDivergenceAndKeepsTheDensePart) {
  ASSERT_EQ(prune({"--ratio", "0.3"}).exit_code, 0);
  const auto measure = [&](const std::string& of) {
    const Outcome done = run({"eval", of, "--kl-to", model, "--text", text, "--seqlen", "32",
                              "--kl-cache", dir / "dense.topk", "--json"});
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return parse_json(done.out, "stdout").at("kl");
  };
  const Json pruned = measure(out);
  EXPECT_GT(pruned.at("kl_per_token"), 0.0);
  EXPECT_LE(pruned.at("top1_agreement"), 1.0);
  EXPECT_EQ(pruned.at("top_k"), kVocab);
  EXPECT_EQ(pruned.at("exact"), true);
  EXPECT_EQ(pruned.at("cache_reused"), false);
  const Json itself = measure(model);
  EXPECT_EQ(itself.at("cache_reused"), true);
  EXPECT_NEAR(itself.at("kl_per_token").get<double>(), 0.0, 1e-6);
  EXPECT_DOUBLE_EQ(itself.at("top1_agreement").get<double>(), 1.0);
  EXPECT_EQ(itself.at("dense_ppl"), pruned.at("dense_ppl"));
  const Json alone = evaluate({"--ppl", text, "--seqlen", "32"}).at("results")[0];
  EXPECT_NEAR(itself.at("ppl").get<double>() / alone.at("ppl").get<double>(), 1.0, 1e-5);
}

TEST_F(EvalCommand, PrintsOneLineAFigure) {
  write_tasks();
  const std::string dense = dir / "dense.json";
  evaluate({"--ppl", text, "--tasks", "llm-pruner-table", "--task-dir", tasks, "--out", dense});
  const Outcome shown =
      run({"eval", model, "--ppl", text, "--tasks", "llm-pruner-table", "--task-dir", tasks,
           "--kl-to", model, "--text", text, "--kl-top-k", "5", "--relative-to", dense});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  for (const char* part :
       {"chunked-64", "+- ", "nll_per_token", "hellaswag", "acc_norm", "BoolQ", "Average",
        "of the unpruned", "100.00 %", "KL(dense || model)", "(top 5: a lower bound)"}) {
    EXPECT_THAT(shown.out, HasSubstr(part));
  }
}

TEST_F(EvalCommand, RelatesEveryFigureToTheUnprunedModel) {
  write_tasks();
  ASSERT_EQ(prune({"--ratio", "0.3"}).exit_code, 0);
  const Arguments asked{"--ppl", text, "--tasks", "piqa,boolq", "--task-dir", tasks};
  Arguments dense = asked;
  dense.insert(dense.end(), {"--out", dir / "dense.json"});
  const Json before = evaluate(dense);
  EXPECT_EQ(json_of(dir / "dense.json"), before);
  Arguments pruned{"eval", out, "--json", "--relative-to", dir / "dense.json"};
  pruned.insert(pruned.end(), asked.begin(), asked.end());
  const Json after = parse_json(run(pruned).out, "stdout");
  EXPECT_DOUBLE_EQ(after.at("results")[0].at("relative").at("ppl").get<double>(),
                   after.at("results")[0].at("ppl").get<double>() /
                       before.at("results")[0].at("ppl").get<double>());
  EXPECT_TRUE(after.at("relative").contains("piqa"));
  pruned.insert(pruned.end(), {"--limit", "1"});
  const Outcome other = run(pruned);
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("items"));
}

TEST_F(EvalCommand, GoesOnBehindWhatAnInterruptedRunHadScored) {
  write_tasks();
  const std::string result = dir / "result.json";
  const std::string work = result + ".work";
  Arguments line{"--tasks", "hellaswag,piqa", "--task-dir", tasks, "--out", result};
  // The tasks get done; then a model of another vocabulary ends the run.
  const test::TinySizes sizes{.family = "llama", .vocab = kVocab + 1};
  test::save_model(test::tiny_model(sizes), test::tiny_config(sizes), dir / "other");
  Arguments stopped{"eval", model, "--kl-to", dir / "other", "--text", text};
  stopped.insert(stopped.end(), line.begin(), line.end());
  EXPECT_EQ(run(stopped).exit_code, 2);
  EXPECT_FALSE(fs::exists(result));
  ASSERT_TRUE(fs::exists(work));
  EXPECT_THAT(run(stopped).err, HasSubstr("--resume"));
  line.emplace_back("--resume");
  const auto without_times = [](Json json) {
    for (auto& [name, task] : json.items()) task.erase("seconds");
    return json;
  };
  const Json fresh = evaluate({"--tasks", "hellaswag,piqa", "--task-dir", tasks}).at("tasks");
  const std::string journal = read(work);
  EXPECT_EQ(without_times(evaluate(line).at("tasks")), without_times(fresh));
  EXPECT_FALSE(fs::exists(work));
  EXPECT_TRUE(fs::exists(result));
  // Scores that no model gives show whether the file is what counts: hellaswag's two items, then
  // piqa's, have two choices each and the labels 0, 1, 0, 1; the right one gets -1.
  std::string changed = journal.substr(0, journal.find('\n') + 1);
  for (size_t at = changed.size(); at < journal.size(); at = journal.find('\n', at) + 1) {
    Json pass = parse_json(journal.substr(at, journal.find('\n', at) - at), work);
    for (Json& one : pass) one[1] = one[0].get<int>() % 4 % 3 == 0 ? -1.0 : -1000.0;
    changed += pass.dump() + '\n';
  }
  put(work, changed);
  line.emplace_back("--force");
  const Json told = evaluate(line).at("tasks");
  EXPECT_LT(fresh.at("piqa").at("acc"), 1.0);
  EXPECT_EQ(told.at("piqa").at("acc"), 1.0);
  EXPECT_EQ(told.at("hellaswag").at("acc"), 1.0);
}

TEST_F(EvalCommand, LooksAtItsOutputsBeforeTheWork) {
  write_tasks();
  const std::string notes = file("notes.jsonl", "mine");
  const auto refuses = [&](Arguments more, int code, const std::string& part) {
    Arguments all{"eval", model, "--ppl", text, "--tasks", "piqa", "--task-dir", tasks};
    all.insert(all.end(), more.begin(), more.end());
    expect_failed(run(all), code, part);
  };
  refuses({"--out", dir / "none/x.json"}, 2, "no such folder");
  refuses({"--samples", dir / "none/x.jsonl"}, 2, "no such folder");
  refuses({"--samples", notes}, 2, "--force");
  refuses({"--out", dir / "x", "--samples", dir / "x"}, 2, "another option");
  refuses({"--out", text, "--force"}, 2, "is also read");
  refuses({"--out", model + "/config.json", "--force"}, 2, "one of the files");
  refuses({"--kl-to", model, "--text", text, "--kl-cache", notes}, 2, "no file of dense logits");
  EXPECT_EQ(read(notes), "mine");
  expect_failed(run({"eval", model, "--ppl", text, "--samples", dir / "x"}), 2, "--tasks");
}

TEST_F(EvalCommand, ShowsTheFiguresWhereTheFileCannotBeWritten) {
  const Outcome full =
      prunus({"eval", model, "--ppl", text, "--out", dir / "x.json", "--quiet", "--threads", "1"},
             {.max_file_bytes = 480});  // the table fits, the JSON does not
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.err, HasSubstr("x.json"));
  EXPECT_THAT(full.out, HasSubstr("ppl"));
  EXPECT_FALSE(fs::exists(dir / "x.json"));
}

TEST_F(EvalCommand, RefusesToRelateToWhatIsNoEvaluation) {
  const auto refuses = [&](const std::string& file, int code, const std::string& part) {
    expect_failed(run({"eval", model, "--ppl", text, "--relative-to", file}), code, part);
  };
  refuses(model + "/config.json", 3, "holds no evaluation");
  refuses(file("list.json", "[1]"), 3, "holds no evaluation");
  refuses(file("odd.json", R"({"model": "m", "results": [1]})"), 3, "holds no evaluation");
  refuses(file("odder.json", R"({"model": "m", "tasks": 3})"), 3, "holds no evaluation");
  refuses(dir / "none.json", 3, "none.json");
  evaluate({"--ppl", text, "--seqlen", "16", "--out", dir / "dense.json"});
  refuses(dir / "dense.json", 2, "nothing in common");  // chunks of 64, and no tasks
  write_tasks();
  const auto with_tasks = [&](const std::string& names) {
    return run({"eval", model, "--tasks", names, "--task-dir", tasks, "--relative-to",
                dir / "tasks.json"});
  };
  evaluate({"--tasks", "piqa", "--task-dir", tasks, "--out", dir / "tasks.json"});
  EXPECT_EQ(with_tasks("piqa").exit_code, 0);
  expect_failed(with_tasks("boolq"), 2, "other tasks");
  file("tasks/piqa.jsonl", read(tasks + "/piqa.jsonl") + "\n");
  expect_failed(with_tasks("piqa"), 2, "another file");
}

TEST_F(EvalCommand, DoesNotOverwriteAResultWithoutForce) {
  const std::string result = file("result.json", "precious");
  expect_failed(run({"eval", model, "--ppl", text, "--out", result}), 2, "--force");
  EXPECT_EQ(read(result), "precious");
  expect_failed(run({"eval", model, "--ppl", text, "--out", dir.path()}), 2, "directory");
  evaluate({"--ppl", text, "--out", result, "--force"});
  EXPECT_EQ(json_of(result).at("results").size(), 1U);
}

TEST_F(EvalCommand, WritesTheScoresOfEveryItemOnRequest) {
  write_tasks();
  evaluate({"--tasks", "piqa", "--task-dir", tasks, "--samples", dir / "samples.jsonl"});
  const std::string samples = read(dir / "samples.jsonl");
  EXPECT_EQ(std::count(samples.begin(), samples.end(), '\n'), 2);
  EXPECT_THAT(samples, HasSubstr("log_likelihood"));
}

TEST_F(EvalCommand, ASecondRunOnTheSameFileIsRefused) {
  const std::string result = dir / "result.json";
  auto lock = FileLock::take(result + ".lock");
  ASSERT_TRUE(lock);
  const Outcome second = run({"eval", model, "--ppl", text, "--out", result});
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_THAT(second.err, HasSubstr("another run is writing it"));
  lock.reset();
  EXPECT_EQ(run({"eval", model, "--ppl", text, "--out", result}).exit_code, 0);
  EXPECT_FALSE(fs::exists(result + ".lock"));
}

}  // namespace
}  // namespace prunus::test_cli::eval_test
