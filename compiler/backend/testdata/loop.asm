   0: r0 = 0
   1: r5 = 0
   2: r4 = 1
   3: if r0 >= 20 goto 10
   4: r3 = r5
   5: r3 += r4
   6: r0 += 1
   7: r5 = r4
   8: r4 = r3
   9: ja goto 3
  10: r0 = value out +0
  12: *(u64 *)(r0 +0) = r5
  13: *(u64 *)(r0 +8) = r4
  14: r0 = 0
  15: exit
