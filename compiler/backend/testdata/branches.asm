   0: r0 = *(u64 *)(r1 +0)
   1: r5 = *(u32 *)(r1 +8)
   2: r5 <<= 32
   3: r5 s>>= 32
   4: r4 = r5
   5: r4 s>>= 63
   6: r5 ^= r4
   7: r5 -= r4
   8: r5 /= 100
   9: r5 ^= r4
  10: r5 -= r4
  11: if r5 s>= r0 goto 25
  12: r5 = r0
  13: if r5 > 15 goto 32
  14: r4 = value out +0
  16: r5 <<= 3
  17: r5 += r4
  18: r4 = 0x123456789abcdef0 ll
  20: *(u64 *)(r5 +88) = r4
  21: r5 = 1
  22: if r0 >= 5 goto 30
  23: r5 = 0
  24: ja goto 30
  25: if r0 & 12 goto 27
  26: ja goto 29
  27: r5 = 1
  28: ja goto 30
  29: r5 = -1
  30: r0 = r5
  31: exit
  32: r5 = 15
  33: ja goto 14
