#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "kv/codec/q4/q4_format.h"
#include "kv/codec/q8/q8_format.h"
#include "kv/sequence_table.h"
#include "kvcapsule/error.h"
#include "scene.h"

namespace kvcapsule {
namespace {

using testing::Between;
using testing::IdentityFormat;
using testing::Rng;

constexpr int32_t kBlocks = 400, kSlots = 5, kProfileTokens[] = {7, 40};

// What the table should hold: the same segments, with every row's content as one number.
struct ModelSegment {
  bool capsule = false;
  std::vector<int32_t> blocks, pages;
  std::vector<float> rows;
};
using Model = std::map<int32_t, std::vector<ModelSegment>>;

class Driver {
 public:
  explicit Driver(uint64_t seed) : rng(seed), pool({2, 1, 16, Dtype::kF32}, kBlocks), table(&pool, kSlots) {
    for (const int32_t tokens : kProfileTokens) formats.push_back(IdentityFormat(pool.geometry(), tokens));
    for (int32_t b = 0; b < kBlocks; ++b) free.push_back(b);
  }

  // One valid operation on `model`, appended to `plan`. False when it drew one that cannot be made.
  bool AddValid(Model& model, std::vector<int32_t>& plan) {
    const int32_t slot = Between(rng, 0, kSlots - 1), kind = Between(rng, 0, 14);
    if (!model.contains(slot)) {
      model[slot];
      return Append(plan, PageOp::kOpen, slot, {});
    }
    auto& segments = model[slot];
    if (kind == 0) {
      Release(segments);
      model.erase(slot);
      return Append(plan, PageOp::kClose, slot, {});
    }
    if (kind <= 3) {
      segments.emplace_back();
      return Append(plan, PageOp::kSegment, slot, {});
    }
    if (kind == 12) return AddAttachStored(model, slot, plan);
    if (segments.empty()) return false;
    const int32_t at = Between(rng, 0, static_cast<int32_t>(segments.size()) - 1);
    if (segments[at].capsule) return false;
    if (kind >= 13) return AddSplit(segments, slot, at, plan);
    if (kind >= 10) return AddAttachBlocks(model, slot, at, kind == 11, plan);
    if (kind <= 6) {
      const auto blocks = Take(Between(rng, 1, 4));
      if (blocks.empty()) return false;
      segments[at].blocks.insert(segments[at].blocks.end(), blocks.begin(), blocks.end());
      std::vector<int32_t> arguments = {at};
      arguments.insert(arguments.end(), blocks.begin(), blocks.end());
      return Append(plan, PageOp::kBlocks, slot, arguments);
    }
    return AddCompress(segments, slot, at, plan);
  }

  // Any segment of the model; null when it has none of that kind with rows.
  const ModelSegment* Pick(const Model& model, bool capsule) {
    std::vector<const ModelSegment*> found;
    for (const auto& [slot, segments] : model) {
      for (const auto& segment : segments) {
        if (segment.capsule == capsule && !segment.rows.empty()) found.push_back(&segment);
      }
    }
    return found.empty() ? nullptr : found[Between(rng, 0, static_cast<int32_t>(found.size()) - 1)];
  }

  // Shares some blocks of another segment, or copies one of them first and attaches the copy.
  bool AddAttachBlocks(Model& model, int32_t slot, int32_t at, bool copy, std::vector<int32_t>& plan) {
    const ModelSegment* picked = Pick(model, false);
    ModelSegment& target = model[slot][at];
    if (!picked || target.rows.size() != target.blocks.size() * 16) return false;
    const ModelSegment source = *picked;
    const auto used = static_cast<int32_t>((source.rows.size() + 15) / 16);
    const int32_t first = Between(rng, 0, used - 1), count = copy ? 1 : Between(rng, 1, used - first);
    std::vector<int32_t> blocks(source.blocks.begin() + first, source.blocks.begin() + first + count);
    std::vector<float> rows(source.rows.begin() + first * 16, source.rows.end());
    rows.resize(std::min<size_t>(rows.size(), count * 16));
    for (const int32_t block : blocks) {
      if (!copy && std::count(target.blocks.begin(), target.blocks.end(), block) > 0) return false;
    }
    if (copy) {
      const auto fresh_block = Take(1);
      if (fresh_block.empty()) return false;
      Append(plan, PageOp::kCopyBlock, -1, {blocks[0], fresh_block[0]});
      blocks = fresh_block;
      rows.resize(Between(rng, 1, static_cast<int32_t>(rows.size())));
      ++copies;
    } else {
      for (const int32_t block : blocks) ++holders[block];
    }
    std::vector<int32_t> arguments = {at, static_cast<int32_t>(rows.size())};
    arguments.insert(arguments.end(), blocks.begin(), blocks.end());
    target.blocks.insert(target.blocks.end(), blocks.begin(), blocks.end());
    target.rows.insert(target.rows.end(), rows.begin(), rows.end());
    ++attached;
    return Append(plan, PageOp::kAttachBlocks, slot, arguments);
  }

  bool AddAttachStored(Model& model, int32_t slot, std::vector<int32_t>& plan) {
    const ModelSegment* picked = Pick(model, true);
    if (!picked) return false;
    const ModelSegment capsule = *picked;
    for (size_t p = 0; p < capsule.pages.size(); p += 8) ++holders[capsule.pages[p] / 8];
    const auto tokens = static_cast<int32_t>(capsule.rows.size());
    std::vector<int32_t> arguments = {tokens == kProfileTokens[0] ? 0 : 1, tokens};
    arguments.insert(arguments.end(), capsule.pages.begin(), capsule.pages.end());
    model[slot].push_back(capsule);
    ++attached;
    return Append(plan, PageOp::kAttachStored, slot, arguments);
  }

  bool AddCompress(std::vector<ModelSegment>& segments, int32_t slot, int32_t at,
                   std::vector<int32_t>& plan) {
    const ModelSegment source = segments[at];
    const int32_t which = Between(rng, 0, 1), tokens = static_cast<int32_t>(source.rows.size());
    const int32_t extra = tokens - kProfileTokens[which];
    if (extra < 0) return false;
    std::vector<int32_t> rest(tokens);
    for (int32_t r = 0; r < tokens; ++r) rest[r] = r;
    std::shuffle(rest.begin(), rest.end(), rng);
    rest.resize(extra);
    std::sort(rest.begin(), rest.end());
    const int32_t page_count = formats[which]->Pages(kProfileTokens[which]);
    const auto page_blocks = Take((page_count + 7) / 8), blocks = Take((extra + 15) / 16);
    if (page_blocks.empty()) return false;
    ModelSegment capsule{true, {}, {}, {}}, raw{false, blocks, {}, {}};
    for (int32_t p = 0; p < page_count; ++p) capsule.pages.push_back(page_blocks[p / 8] * 8 + p % 8);
    for (int32_t r = 0; r < tokens; ++r) {
      (std::binary_search(rest.begin(), rest.end(), r) ? raw : capsule).rows.push_back(source.rows[r]);
    }
    std::vector<int32_t> arguments = {at, which, page_count};
    arguments.insert(arguments.end(), capsule.pages.begin(), capsule.pages.end());
    arguments.push_back(static_cast<int32_t>(blocks.size()));
    arguments.insert(arguments.end(), blocks.begin(), blocks.end());
    arguments.push_back(extra);
    arguments.insert(arguments.end(), rest.begin(), rest.end());
    // The old blocks are not given away before the plan has been applied.
    Release({source});
    segments[at] = capsule;
    if (extra > 0) segments.insert(segments.begin() + at + 1, raw);
    return Append(plan, PageOp::kCompress, slot, arguments);
  }

  bool AddSplit(std::vector<ModelSegment>& segments, int32_t slot, int32_t at, std::vector<int32_t>& plan) {
    ModelSegment& whole = segments[at];
    const size_t most = std::min(whole.rows.size() / 16, whole.blocks.empty() ? 0 : whole.blocks.size() - 1);
    if (most == 0) return false;
    const int32_t blocks = Between(rng, 1, static_cast<int32_t>(most));
    ModelSegment rest;
    rest.blocks.assign(whole.blocks.begin() + blocks, whole.blocks.end());
    rest.rows.assign(whole.rows.begin() + blocks * 16, whole.rows.end());
    whole.blocks.resize(blocks);
    whole.rows.resize(blocks * 16);
    segments.insert(segments.begin() + at + 1, rest);
    ++splits;
    return Append(plan, PageOp::kSplit, slot, {at, blocks * 16});
  }

  // A step's forward pass: fills some raw segments with rows of fresh numbers.
  void Fill(Model& model) {
    for (auto& [slot, segments] : model) {
      for (size_t s = 0; s < segments.size(); ++s) {
        if (segments[s].capsule || Between(rng, 0, 1) == 0) continue;
        const size_t last = segments[s].rows.size() / 16;
        if (last < segments[s].blocks.size() && holders[segments[s].blocks[last]] > 0) continue;  // sealed
        const auto room = static_cast<int32_t>(segments[s].blocks.size() * 16 - segments[s].rows.size());
        const int32_t rows = Between(rng, 0, room), start = static_cast<int32_t>(segments[s].rows.size());
        std::vector<float> values;
        for (int32_t r = 0; r < rows; ++r) {
          segments[s].rows.push_back(++fresh);
          values.insert(values.end(), 16, fresh);
        }
        const AttentionChunk chunk{slot, static_cast<int32_t>(s), 0, rows, start};
        for (int32_t layer = 0; layer < 2; ++layer)
          WriteKv(pool, table, {&chunk, 1}, layer, values.data(), values.data(), 0, 1);
        std::get<RawSegment>(table.at(slot).segments[s]).tokens = start + rows;
      }
    }
  }

  void ExpectEqual(const Model& model) const {
    for (int32_t slot = 0; slot < kSlots; ++slot) {
      ASSERT_EQ(table.contains(slot), model.contains(slot));
      if (!model.contains(slot)) continue;
      const auto& want = model.at(slot);
      const auto& got = table.at(slot).segments;
      ASSERT_EQ(got.size(), want.size());
      for (size_t s = 0; s < want.size(); ++s) {
        ASSERT_EQ(std::holds_alternative<CapsuleSegment>(got[s]), want[s].capsule);
        ASSERT_EQ(Content(got[s]), want[s].rows);
      }
    }
  }

  std::vector<float> Content(const Segment& segment) const {
    std::vector<float> rows;
    if (const auto* raw = std::get_if<RawSegment>(&segment)) {
      rows = testing::RawRows(pool, *raw, raw->tokens, 1, KvPart::kValue, 0);
    } else {
      const auto& capsule = std::get<CapsuleSegment>(segment);
      rows.resize(static_cast<size_t>(capsule.tokens) * 16);
      capsule.format->Decode(pool, capsule, 1, KvPart::kValue, 0, rows.data());
    }
    std::vector<float> firsts;
    for (size_t i = 0; i < rows.size(); i += 16) firsts.push_back(rows[i]);
    return firsts;
  }

  static bool Append(std::vector<int32_t>& plan, PageOp op, int32_t slot,
                     const std::vector<int32_t>& arguments) {
    plan.insert(plan.end(), {static_cast<int32_t>(op), slot, static_cast<int32_t>(arguments.size())});
    plan.insert(plan.end(), arguments.begin(), arguments.end());
    return true;
  }

  std::vector<int32_t> Take(int32_t count) {
    if (static_cast<size_t>(count) > free.size()) return {};
    std::vector<int32_t> taken(free.end() - count, free.end());
    free.resize(free.size() - count);
    return taken;
  }

  void Release(const std::vector<ModelSegment>& segments) {
    for (const auto& segment : segments) {
      for (const int32_t block : segment.blocks) Release(block);
      for (size_t p = 0; p < segment.pages.size(); p += 8) Release(segment.pages[p] / 8);
    }
  }

  void Release(int32_t block) {
    if (holders[block] > 0) {
      --holders[block];
    } else {
      dropped.push_back(block);
    }
  }

  Rng rng;
  KvPool pool;
  SequenceTable table;
  std::vector<std::shared_ptr<const KvFormat>> formats;
  std::vector<int32_t> free, dropped;
  std::map<int32_t, int32_t> holders;  // of a block, beyond the first
  int64_t attached = 0, copies = 0, splits = 0;
  float fresh = 0;
};

// An operation that breaks the contract on any table: slot 0 open with [raw of 10 tokens in block 0,
// capsule].
std::vector<std::vector<int32_t>> BadOps(const std::vector<int32_t>& pages) {
  const auto compress = [&](int32_t segment, int32_t format, std::vector<int32_t> target,
                            std::vector<int32_t> blocks, std::vector<int32_t> rest) {
    std::vector<int32_t> arguments = {segment, format, static_cast<int32_t>(target.size())};
    arguments.insert(arguments.end(), target.begin(), target.end());
    arguments.push_back(static_cast<int32_t>(blocks.size()));
    arguments.insert(arguments.end(), blocks.begin(), blocks.end());
    arguments.push_back(static_cast<int32_t>(rest.size()));
    arguments.insert(arguments.end(), rest.begin(), rest.end());
    std::vector<int32_t> op;
    Driver::Append(op, PageOp::kCompress, 0, arguments);
    return op;
  };
  const auto attach = [&](int32_t profile, int32_t tokens, const std::vector<int32_t>& target) {
    std::vector<int32_t> arguments = {profile, tokens};
    arguments.insert(arguments.end(), target.begin(), target.end());
    std::vector<int32_t> op;
    Driver::Append(op, PageOp::kAttachStored, 0, arguments);
    return op;
  };
  auto crossing = pages, twice = pages;
  for (size_t i = 0; i < pages.size(); ++i) crossing[i] = 87 + static_cast<int32_t>(i);
  twice.back() = twice.front();
  auto gap = pages, short_pages = pages, over = pages, source = pages, negative = pages;
  gap.back() += 1;
  short_pages.pop_back();
  for (size_t i = 0; i < pages.size(); ++i) {
    over[i] = kBlocks * 8 - 1 + static_cast<int32_t>(i);
    source[i] = static_cast<int32_t>(i);
    negative[i] = static_cast<int32_t>(i) - 1;
  }
  auto too_long = compress(0, 0, pages, {9}, {0, 1, 2});
  too_long.push_back(0);
  too_long[2] += 1;
  return {
      {},
      {1},
      {1, 1},
      {1, 1, 1},
      {1, 1, -1},
      {1, 1, INT32_MAX},
      {0, 1, 0},
      {9, 0, 0},
      {1, 0, 0},  // open already
      {1, kSlots, 0},
      {1, -1, 0},
      {1, 1, 1, 0},  // an argument too many
      {2, 1, 0},     // not open
      {2, 0, 1, 5},
      {3, 1, 0},
      {3, 0, 1, 0},
      {4, 0, 0},        // no segment named
      {4, 0, 2, 3, 9},  // no such segment
      {4, 0, 2, -1, 9},
      {4, 0, 2, 1, 9},  // the capsule
      {4, 0, 2, 0, kBlocks},
      {4, 0, 2, 0, -1},
      {4, 0, 2, 0, 0},  // block twice
      {4, 0, 3, 0, 9, 9},
      {5, 0, 0},
      {5, 0, 3, 0, 0, 1000},  // list longer than the arguments
      {5, 0, 3, 0, 0, -1},
      compress(1, 0, pages, {9}, {0, 1, 2}),
      compress(2, 0, pages, {9}, {0, 1, 2}),
      compress(0, 2, pages, {9}, {0, 1, 2}),
      compress(0, -1, pages, {9}, {0, 1, 2}),
      compress(0, 1, pages, {9}, {0, 1, 2}),  // format for another n
      compress(0, 0, gap, {9}, {0, 1, 2}),
      compress(0, 0, short_pages, {9}, {0, 1, 2}),
      compress(0, 0, over, {9}, {0, 1, 2}),
      compress(0, 0, negative, {9}, {0, 1, 2}),
      compress(0, 0, source, {9}, {0, 1, 2}),  // pages of the source
      compress(0, 0, pages, {pages[0] / 8}, {0, 1, 2}),
      compress(0, 0, pages, {0}, {0, 1, 2}),  // rest into the source
      compress(0, 0, pages, {9}, {0, 2, 1}),
      compress(0, 0, pages, {9}, {0, 1, 1}),
      compress(0, 0, pages, {9}, {0, 1, 10}),
      compress(0, 0, pages, {9}, {-1, 0, 1}),
      compress(0, 0, pages, {9}, {0, 1}),
      compress(0, 0, pages, {9}, {0, 1, 2, 3}),
      compress(0, 0, crossing, {9}, {0, 1, 2}),
      compress(0, 0, pages, {}, {0, 1, 2}),
      compress(0, 0, pages, {9, 10}, {0, 1, 2}),
      compress(0, 0, pages, {kBlocks}, {0, 1, 2}),
      too_long,
      {6, 0, 0},
      {6, 0, 1, 2},
      {6, 1, 3, 0, 1, 9},   // not open
      {6, 0, 3, 1, 1, 9},   // the capsule
      {6, 0, 3, 3, 1, 9},   // no such segment
      {6, 0, 3, 0, 16, 9},  // its last block has room left
      {6, 0, 3, 2, 0, 9},
      {6, 0, 3, 2, -1, 9},
      {6, 0, 3, 2, 17, 9},  // more tokens than the block holds
      {6, 0, 4, 2, 16, 9, 10},
      {6, 0, 2, 2, INT32_MAX},
      {6, 0, 3, 2, 1, kBlocks},
      {6, 0, 3, 2, 1, -1},
      {6, 0, 4, 2, 17, 9, 9},
      {7, 0, 0},
      {7, 0, 1, 0},
      attach(2, 7, pages),
      attach(-1, 7, pages),
      attach(0, 8, pages),
      attach(0, 7, gap),
      attach(0, 7, short_pages),
      attach(0, 7, over),
      attach(0, 7, negative),
      attach(0, 7, crossing),
      attach(0, 7, twice),
      {7, 1, 2, 0, 7},
      {8, -1, 0},
      {8, -1, 1, 3},
      {8, -1, 3, 3, 4, 5},
      {8, -1, 2, 3, 3},  // onto itself
      {8, -1, 2, 3, kBlocks},
      {8, -1, 2, -1, 3},
      {8, 0, 2, 3, 4},  // names a slot
      {9, 0, 0},
      {9, 0, 1, 0},
      {9, 0, 3, 0, 16, 0},
      {9, 1, 2, 0, 16},  // not open
      {9, 0, 2, 1, 16},  // the capsule
      {9, 0, 2, 3, 16},  // no such segment
      {9, 0, 2, 0, 0},
      {9, 0, 2, 0, -16},
      {9, 0, 2, 0, 8},   // inside a block
      {9, 0, 2, 0, 16},  // more tokens than it has
      {9, 0, 2, 2, 16},  // no block
  };
}

ErrorCode CodeOf(SequenceTable& table, const std::vector<int32_t>& plan, const auto& formats) {
  try {
    table.Apply(plan, formats);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("page op"), std::string::npos)
        << "names the op: " << error.what();
    return error.code();
  }
  ADD_FAILURE() << "the plan was accepted";
  return ErrorCode::kEngineFailed;
}

TEST(SequenceTableTest, ABadOpAnywhereInAPlanChangesNothing) {
  Driver driver(3);
  std::vector<int32_t> pages;
  for (int32_t p = 0; p < driver.formats[0]->Pages(kProfileTokens[0]); ++p)
    pages.push_back(80 + p);
  Model model;
  model[0] = {{false, {0}, {}, {}}, {false, {1}, {}, {}}};
  driver.table.Apply(std::vector<int32_t>{1, 0, 0, 3, 0, 0, 3, 0, 0, 4, 0, 2, 0, 0, 4, 0, 2, 1, 1},
                     driver.formats);
  for (int32_t s = 0; s < 2; ++s) {
    const std::vector<float> values(10 * 16, 3.5f + static_cast<float>(s));
    const AttentionChunk chunk{0, s, 0, 10, 0};
    for (int32_t layer = 0; layer < 2; ++layer)
      WriteKv(driver.pool, driver.table, {&chunk, 1}, layer, values.data(), values.data(), 0, 1);
    std::get<RawSegment>(driver.table.at(0).segments[s]).tokens = s == 0 ? 10 : 7;
    model[0][s].rows.assign(s == 0 ? 10 : 7, 3.5f + static_cast<float>(s));
  }
  std::vector<int32_t> compress = {5, 0, 0, 1, 0, static_cast<int32_t>(pages.size())};
  for (const int32_t page : pages) compress.push_back(page + 80);
  compress.insert(compress.end(), {0, 0});
  compress[2] = static_cast<int32_t>(compress.size()) - 3;
  driver.table.Apply(compress, driver.formats);
  model[0][1].capsule = true;
  driver.ExpectEqual(model);

  const auto ops = BadOps(pages);
  // An empty raw segment for what may only be attached to one.
  driver.table.Apply(std::vector<int32_t>{3, 0, 0}, driver.formats);
  model[0].emplace_back();
  for (size_t i = 1; i < ops.size(); ++i) {
    SCOPED_TRACE("bad op " + std::to_string(i));
    // The copy goes into the raw segment's room: a copy that ran would show.
    std::vector<int32_t> plan = {1, 3, 0, 3, 3, 0, 8, -1, 2, 1, 0};
    plan.insert(plan.end(), ops[i].begin(), ops[i].end());
    EXPECT_EQ(CodeOf(driver.table, plan, driver.formats), ErrorCode::kPlanInvalid);
    driver.ExpectEqual(model);
  }
  driver.table.Apply({}, driver.formats);
  driver.ExpectEqual(model);
}

TEST(SequenceTableTest, AgreesWithASimpleModelOverThousandsOfOperations) {
  int64_t operations = 0, compressions = 0, refused = 0, attached = 0, copies = 0, splits = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Driver driver(seed);
    Model model;
    for (int32_t step = 0; step < 250; ++step) {
      std::vector<int32_t> plan;
      Model next = model;
      for (int32_t count = Between(driver.rng, 1, 5); count > 0; --count) {
        const size_t before = plan.size();
        if (!driver.AddValid(next, plan)) continue;
        ++operations;
        compressions += plan[before] == static_cast<int32_t>(PageOp::kCompress);
      }
      // A sound plan with a broken end must leave no trace; then the same plan without it must pass.
      auto broken = plan;
      broken.insert(broken.end(), {static_cast<int32_t>(PageOp::kClose), kSlots, 0});
      ASSERT_EQ(CodeOf(driver.table, broken, driver.formats), ErrorCode::kPlanInvalid);
      driver.ExpectEqual(model);
      ++refused;
      driver.table.Apply(plan, driver.formats);
      model = next;
      driver.ExpectEqual(model);
      driver.Fill(model);
      driver.ExpectEqual(model);
      driver.free.insert(driver.free.begin(), driver.dropped.begin(), driver.dropped.end());
      driver.dropped.clear();
      if (::testing::Test::HasFatalFailure()) return;
    }
    attached += driver.attached;
    copies += driver.copies;
    splits += driver.splits;
  }
  EXPECT_GT(attached, 200);
  EXPECT_GT(copies, 50);
  EXPECT_GT(splits, 50);
  EXPECT_GT(operations, 3000);
  EXPECT_GT(compressions, 150);
  EXPECT_EQ(refused, 2000);
}

// Overwrites, cuts and repeats words of a plan.
void Spoil(testing::Rng& rng, std::vector<int32_t>& plan) {
  constexpr int32_t kWords[] = {-1, 0, 1, 2, 8, 16, 255, INT32_MAX, INT32_MIN};
  for (int32_t times = Between(rng, 1, 3); times > 0 && !plan.empty(); --times) {
    const auto at = plan.begin() + Between(rng, 0, static_cast<int32_t>(plan.size()) - 1);
    switch (Between(rng, 0, 3)) {
      case 0: *at = kWords[Between(rng, 0, std::size(kWords) - 1)]; break;
      case 1:  // unsigned, since it may wrap
        *at = static_cast<int32_t>(static_cast<uint32_t>(*at) + static_cast<uint32_t>(Between(rng, -2, 2)));
        break;
      case 2: plan.erase(at, plan.end()); break;
      default: plan.insert(plan.end(), at, plan.end());
    }
  }
}

// KVCAPSULE_TEST_FULL: for longer.
TEST(SequenceTableTest, ASpoiltPlanIsTakenWholeOrLeavesNoTrace) {
  const uint64_t rounds = std::getenv("KVCAPSULE_TEST_FULL") ? 20'000 : 600;
  int32_t refused = 0, taken = 0;
  for (uint64_t seed = 1; seed <= rounds; ++seed) {
    Driver driver(seed);
    Model model;
    for (int32_t step = 0; step < 30; ++step) {
      Model next = model;
      std::vector<int32_t> plan;
      for (int32_t count = Between(driver.rng, 1, 5); count > 0; --count) driver.AddValid(next, plan);
      auto spoilt = plan;
      Spoil(driver.rng, spoilt);
      try {
        driver.table.Apply(spoilt, driver.formats);
        ++taken;
        break;  // not what the model says, as far as it goes
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ErrorCode::kPlanInvalid) << error.what();
        ++refused;
      }
      driver.ExpectEqual(model);
      driver.table.Apply(plan, driver.formats);
      model = next;
      driver.Fill(model);
      driver.free.insert(driver.free.begin(), driver.dropped.begin(), driver.dropped.end());
      driver.dropped.clear();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(refused, static_cast<int32_t>(rounds));
  EXPECT_GT(taken, static_cast<int32_t>(rounds) / 4);
}

TEST(SequenceTableTest, AskingForAClosedSlotIsAnError) {
  Driver driver(1);
  EXPECT_FALSE(driver.table.contains(0));
  EXPECT_THROW(driver.table.at(0), Error);
}

TEST(SequenceTableTest, ACapsuleKnowsTheTokensBeforeItsSpan) {
  testing::Scene scene({1, 2, 16, Dtype::kF32}, 40, 1);
  scene.Open(0);
  for (const int32_t tokens : {7, 20, 7}) scene.Fill(0, scene.AddSegment(0, tokens), tokens);
  const auto format = IdentityFormat(scene.pool.geometry(), 7);
  scene.Compress(0, 0, format, {});
  scene.Compress(0, 1, IdentityFormat(scene.pool.geometry(), 15), {0, 1, 2, 3, 19});
  scene.Compress(0, 3, format, {});
  const auto& segments = scene.table.at(0).segments;
  ASSERT_EQ(segments.size(), 4u);
  EXPECT_EQ(std::get<CapsuleSegment>(segments[0]).position, 0);
  EXPECT_EQ(std::get<CapsuleSegment>(segments[1]).position, 7);
  EXPECT_EQ(std::get<CapsuleSegment>(segments[3]).position, 27);
}

TEST(SequenceTableTest, StoredRowsAreCompressedAsTheyAreRead) {
  for (const bool eight_bits : {true, false}) {
    testing::Scene scene({2, 2, 16, Dtype::kF32}, 60, 1);
    const KvGeometry& geometry = scene.pool.geometry();
    scene.Open(0);
    for (const int32_t tokens : {5, 47}) scene.Fill(0, scene.AddSegment(0, tokens), tokens);
    const std::shared_ptr<const KvFormat> rows =
        eight_bits ? std::shared_ptr<const KvFormat>(std::make_shared<Q8Format>(geometry))
                   : std::make_shared<Q4Format>(geometry);
    scene.Compress(0, 1, rows, {});
    const auto stored = ReadSegmentRows(scene.pool, scene.table.at(0).segments[1]);
    const std::vector<int32_t> rest = {0, 20, 46};
    scene.Compress(0, 1, IdentityFormat(geometry, 44), rest);

    const auto& segments = scene.table.at(0).segments;
    ASSERT_EQ(segments.size(), 3u);
    EXPECT_EQ(std::get<CapsuleSegment>(segments[1]).position, 5);
    const auto capsule = ReadSegmentRows(scene.pool, segments[1]);
    const auto raw = ReadSegmentRows(scene.pool, segments[2]);
    const int64_t dim = geometry.head_dim;
    for (int64_t unit = 0; unit < 2LL * geometry.layers * geometry.kv_heads; ++unit) {
      int64_t covered = 0, kept = 0;
      for (int32_t row = 0; row < 47; ++row) {
        const bool is_rest = std::binary_search(rest.begin(), rest.end(), row);
        const auto got = is_rest ? raw.begin() + (unit * 3 + kept++) * dim
                                 : capsule.begin() + (unit * 44 + covered++) * dim;
        const auto want = stored.begin() + (unit * 47 + row) * dim;
        ASSERT_TRUE(std::equal(want, want + dim, got)) << "unit " << unit << ", row " << row;
      }
    }
    EXPECT_THROW(scene.Compress(0, 1, IdentityFormat(geometry, 44), {}), Error);  // fitted: no rows to read
  }
}

TEST(SequenceTableTest, AFormatOfAnotherGeometryIsRefused) {
  testing::Scene scene({1, 2, 16, Dtype::kF32}, 40, 1);
  scene.Open(0);
  scene.Fill(0, scene.AddSegment(0, 7), 7);
  EXPECT_THROW(scene.Compress(0, 0, IdentityFormat({2, 1, 16, Dtype::kF32}, 7), {}), Error);
  EXPECT_NO_THROW(scene.Compress(0, 0, IdentityFormat({1, 2, 16, Dtype::kF32}, 7), {}));
}

}  // namespace
}  // namespace kvcapsule
