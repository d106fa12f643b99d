   0: r6 = *(u64 *)(r1 +0)
   1: *(u64 *)(r10 -8) = 0
   2: r7 = r6
   3: r7 >>= 63
   4: if r6 == 77 goto 19
   5: r1 = map @
   7: r2 = r10
   8: r2 += -8
   9: call FnMapLookupElem
  10: if r0 == 0 goto 17
  11: r6 >>= 61
  12: r6 <<= 3
  13: r6 += r0
  14: r0 = *(u64 *)(r6 +0)
  15: r0 += r7
  16: *(u64 *)(r6 +0) = r0
  17: r0 = 0
  18: exit
  19: r0 = value health +0
  21: r5 = 1
  22: Add *(u64 *)(r0 +0), r5
  23: ja goto 5
