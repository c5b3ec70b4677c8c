// Queries as the rows of mixture_aligned.h meet them: z of every feature rounded to 16-bit integers, z = step X + e, with 8 bits more of e,
// or to float32; packed in groups of 16, with how far roundings move their products.
#pragma once

#include <vector>

#include "aligned_rows.h"
#include "dense_queries.h"
#include "line_bytes.h"

namespace regimes {

// What the products of a query with the rows of one feature are.
struct AlignedForm {
  double deviation = 0;  // of <z, R>, apart for every component: words: absolute, floats: in units of |R|
  double coherent = 0;   // and from what the query's own rounding leaves, in units of |R|
  double certain = 0;    // and what is not random, likewise
};

struct AlignedQuery {
  AlignedForm form[AlignedRows::most_features];
  double norm = 0, norm_four = 0;  // |x'|, (sum x'^4)^(1/4)
  double largest = 0;              // max |x'_j|
  bool attempted = false;          // whether logits can be told well enough
};

// What products [rows][16] and the query's own rest count in logits (LogitTerm), and what they are made of.
struct PackedForms {
  LineBytes words, digits;                           // [groups] of words or floats, and of digits of the rest
  std::vector<double> step, rest_step, rest_offset;  // [groups * 16]
};

class AlignedQueries {
 public:
  AlignedQueries(const Instructions& set, const AlignedRows& rows)
      : set_(set), rows_(rows), d_(rows.d), steps_((rows.d + 1) / 2), chain_stretch_(rows.d, first_chain) {}

  // `count` queries of x from `first` on.
  void prepare(const MatrixView& x, int64_t first, int64_t count, ThreadPool& pool);

  // T^2 of the logits of a block of components.
  double logit_variance(int64_t q, int64_t block) const;
  // Of a block, a bound on |S_k^-1 (x - a m_k) - P x'|.
  double farthest(int64_t q, int64_t block) const;
  // 1/2 sum_j P_j x'_j^2, which the logits of the products leave out.
  double ground_form(int64_t q) const;
  int64_t steps() const { return steps_; }  // words of a row
  const ChainStretch& chain_stretch() const { return chain_stretch_; }  // of products of floats

  int64_t count = 0, groups = 0;
  std::vector<AlignedQuery> each;    // [count]
  std::vector<double> centred;       // [count][d] x'
  std::vector<double> square;        // [groups * 16] g
  PackedForms packed[AlignedRows::most_features];

 private:
  int64_t group_words() const { return (rows_.in_words ? steps_ : d_) * digit_lanes; }
  void pack(const MatrixView& x, int64_t first, int64_t group);
  void centre(const double* x, int64_t q);
  void pack_words(int f, int64_t q, std::vector<double>& z, int32_t* whole, int32_t* rest);
  void pack_floats(int f, int64_t q, const std::vector<double>& z);

  const Instructions& set_;
  const AlignedRows& rows_;
  const int64_t d_, steps_;
  const ChainStretch chain_stretch_;
};

}  // namespace regimes
