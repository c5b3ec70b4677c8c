// A 113-bit number with the functions the reference needs, so that reference::posterior<Quad> is the oracle of the error bounds.
#pragma once

#include <cmath>
#include <limits>

namespace regimes {

class Quad {
 public:
  Quad() = default;
  template <class Number>
  Quad(Number value) : value_(static_cast<__float128>(value)) {}
  explicit operator double() const { return static_cast<double>(value_); }
  __float128 raw() const { return value_; }

  Quad& operator+=(Quad other) { value_ += other.value_; return *this; }
  Quad& operator-=(Quad other) { value_ -= other.value_; return *this; }
  Quad& operator*=(Quad other) { value_ *= other.value_; return *this; }
  Quad& operator/=(Quad other) { value_ /= other.value_; return *this; }
  friend Quad operator+(Quad x, Quad y) { return x.value_ + y.value_; }
  friend Quad operator-(Quad x, Quad y) { return x.value_ - y.value_; }
  friend Quad operator*(Quad x, Quad y) { return x.value_ * y.value_; }
  friend Quad operator/(Quad x, Quad y) { return x.value_ / y.value_; }
  friend Quad operator-(Quad x) { return -x.value_; }
  friend bool operator<(Quad x, Quad y) { return x.value_ < y.value_; }
  friend bool operator>(Quad x, Quad y) { return x.value_ > y.value_; }
  friend bool operator<=(Quad x, Quad y) { return x.value_ <= y.value_; }
  friend bool operator>=(Quad x, Quad y) { return x.value_ >= y.value_; }
  friend bool operator==(Quad x, Quad y) { return x.value_ == y.value_; }

 private:
  __float128 value_ = 0;
};

inline Quad fma(Quad x, Quad y, Quad z) { return x * y + z; }

inline Quad sqrt(Quad x) {
  if (x <= Quad(0)) return 0;
  Quad root = std::sqrt(static_cast<double>(x));
  for (int i = 0; i < 3; ++i) root = (root + x / root) / 2;
  return root;
}

// exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, halved 8 times before the series; 33 digits.
inline Quad exp(Quad x) {
  if (x < Quad(-11000)) return 0;
  const Quad ln2 = Quad(0x1.62e42fefa39efp-1) + Quad(0x1.abc9e3b39803fp-56) + Quad(0x1.7b57a079a1934p-111);
  const double n = std::round(static_cast<double>(x) / 0.6931471805599453);
  const Quad r = (x - Quad(n) * ln2) / 256;
  Quad term = 1, sum = 1;
  for (int k = 1; k < 24; ++k) {
    term = term * r / k;
    sum += term;
  }
  for (int k = 0; k < 8; ++k) sum *= sum;
  Quad result = sum, power = n > 0 ? 2 : 0.5;
  for (int k = static_cast<int>(std::abs(n)); k > 0; k /= 2) {
    if (k % 2 == 1) result *= power;
    power *= power;
  }
  return result;
}

inline Quad log(Quad x) {
  Quad y = std::log(static_cast<double>(x));
  for (int i = 0; i < 3; ++i) y += x * exp(-y) - Quad(1);
  return y;
}

inline Quad log1p(Quad x) {
  if (x > Quad(1e-3)) return log(x + 1);
  Quad power = x, sum = 0;
  for (int k = 1; k < 40; ++k) {
    sum += power / k * (k % 2 ? 1 : -1);
    power *= x;
  }
  return sum;
}

}  // namespace regimes
